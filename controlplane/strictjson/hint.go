package strictjson

import "strings"

// hint suggests what to write in place of an unknown key: the one that was
// probably meant or, where none is near, all that there are.
func (f fields) hint(key string) string {
	best, near := "", len(key)/3+1
	for _, name := range f.names {
		if n := distance(plain(key), plain(name)); n <= near {
			best, near = name, n-1
		}
	}
	if best != "" {
		return "; did you mean \"" + best + "\"?"
	}
	return "; known are " + strings.Join(f.names, ", ")
}

// plain strips what people spell in several ways.
func plain(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(key))
}

// maxKey bounds the work of distance, which is quadratic in a key's length.
const maxKey = 64

// distance returns how many bytes must be inserted, removed or replaced to get
// from a to b (Levenshtein). Beyond 64 bytes it is at least the length.
func distance(a, b string) int {
	if len(a) > maxKey || len(b) > maxKey {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
