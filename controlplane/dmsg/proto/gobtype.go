package proto

// A gobKind is the shape of a defined type, by the field of the definition that is
// set.
type gobKind uint8

const (
	gobUndefined gobKind = iota
	gobArray
	gobSlice
	gobStruct
	gobMap
	gobOpaque // bytes that the type itself encodes, otherwise than as below
	gobBinary // bytes of its MarshalBinary
)

type gobType struct {
	id        int64
	kind      gobKind
	key, elem int64 // types of a map's keys; of elements
	len       int64
	fields    []gobField
}

type gobField struct {
	name []byte // aliases the input
	id   int64  // of its type
}

// gobTypes are the definitions of one gob, few enough to look through.
type gobTypes struct {
	defs   []gobType
	fields int
}

// find returns the definition of id, or nil. It never changes.
func (t *gobTypes) find(id int64) *gobType {
	for i := range t.defs {
		if t.defs[i].id == id {
			return &t.defs[i]
		}
	}
	return nil
}

// define reads the definition of the type -id, itself the gob of a struct with one
// field for each kind. The message ends with it.
func (r *gobReader) define(id int64) {
	t := gobType{id: -id}
	if t.id < gobFirstUser || r.types.find(t.id) != nil {
		r.fail(errGobType)
		return
	}
	if len(r.types.defs) == maxGobTypes {
		r.fail(errGobLimit)
		return
	}
	for i, ok := r.field(-1, 7); ok; i, ok = r.field(i, 7) {
		if t.kind != gobUndefined {
			r.fail(errGobType)
			return
		}
		switch i {
		case 0:
			t.kind = gobArray
			t.elem, t.len = r.defineOther(2)
		case 1:
			t.kind = gobSlice
			t.elem, _ = r.defineOther(1)
		case 2:
			t.kind = gobStruct
			t.fields = r.defineStruct()
		case 3:
			t.kind = gobMap
			t.key, t.elem = r.defineOther(2)
		case 5:
			t.kind = gobBinary
			r.defineOther(0)
		default:
			t.kind = gobOpaque
			r.defineOther(0)
		}
	}
	if t.kind == gobUndefined || len(r.rest) > 0 {
		r.fail(errGobType)
	}
	if r.err == nil {
		r.types.defs = append(r.types.defs, t)
	}
}

// defineOther reads the definition of anything but a struct: what all have in
// common, then n numbers, at most two.
func (r *gobReader) defineOther(n int) (first, second int64) {
	for i, ok := r.field(-1, 1+n); ok; i, ok = r.field(i, 1+n) {
		switch i {
		case 0:
			r.defineCommon()
		case 1:
			first = r.int()
		case 2:
			second = r.int()
		}
	}
	return first, second
}

// defineStruct reads the definition of a struct: what all have in common, then
// name and type of each field.
func (r *gobReader) defineStruct() (fields []gobField) {
	for i, ok := r.field(-1, 2); ok; i, ok = r.field(i, 2) {
		if i == 0 {
			r.defineCommon()
			continue
		}
		for n := r.uint(); n > 0 && r.err == nil; n-- {
			if r.types.fields++; r.types.fields > maxGobFields {
				r.fail(errGobLimit)
			}
			var f gobField
			for j, ok := r.field(-1, 2); ok; j, ok = r.field(j, 2) {
				if j == 0 {
					f.name = r.name()
				} else {
					f.id = r.int()
				}
			}
			fields = append(fields, f)
		}
	}
	return fields
}

// defineCommon reads name and number that every definition repeats. Neither says
// anything: types match by their fields.
func (r *gobReader) defineCommon() {
	for i, ok := r.field(-1, 2); ok; i, ok = r.field(i, 2) {
		if i == 0 {
			r.name()
		} else {
			r.int()
		}
	}
}

func (r *gobReader) name() []byte {
	name := r.take()
	if len(name) > maxGobName {
		r.fail(errGobLimit)
	}
	return name
}
