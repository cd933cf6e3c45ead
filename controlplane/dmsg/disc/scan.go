package disc

import "iter"

// A member is one member of an object: offsets into its bytes.
type member struct {
	start int // of the opening quote of the name
	value int // first byte of the value
	end   int // one past the value
}

// name returns the name as it is written, without the quotes. Escapes stay as they
// are, so a name that is written in another way is another name.
func (m member) name(object []byte) []byte { return object[m.start+1 : m.value-2] }

// members lists the members of object, which must be a valid JSON object without
// white space.
func members(object []byte) iter.Seq[member] {
	return func(yield func(member) bool) {
		for i := 1; i < len(object) && object[i] == '"'; {
			m := member{start: i}
			m.value = skip(object, i) + 1
			m.end = skip(object, m.value)
			if !yield(m) {
				return
			}
			i = m.end + 1 // behind the comma or the brace
		}
	}
}

// skip returns where the value that begins at i ends.
func skip(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the object around a number, true, false or null
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// find returns the member called name.
func find(object []byte, name string) (member, bool) {
	for m := range members(object) {
		if string(m.name(object)) == name {
			return m, true
		}
	}
	return member{}, false
}

// without returns a copy of object that lacks the member m, and one comma.
func without(object []byte, m member) []byte {
	start, end := m.start, m.end
	if object[end] == ',' {
		end++
	} else if object[start-1] == ',' {
		start--
	}
	out := make([]byte, 0, len(object))
	out = append(out, object[:start]...)
	return append(out, object[end:]...)
}

// replace returns a copy of b with with instead of b[start:end].
func replace(b []byte, start, end int, with []byte) []byte {
	out := make([]byte, 0, len(b)+len(with))
	out = append(out, b[:start]...)
	out = append(out, with...)
	return append(out, b[end:]...)
}
