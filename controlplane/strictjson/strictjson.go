// Package strictjson decodes JSON that people write by hand. Where encoding/json
// ignores, guesses or gives byte offsets, it says what is wrong, in which line and
// column, and which key was probably meant; and it says all of it at once.
//
// It knows structs with json tags, slices, pointers, scalars and types that
// unmarshal themselves. Keys match exactly. Maps, embedded structs and interface
// values are left out: a configuration that needs them is hard to check.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// A Position is a place in a text. Lines and columns count from 1, columns in bytes.
type Position struct{ Line, Column int }

// String returns "line:column".
func (p Position) String() string { return strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column) }

// A Fault is one thing that is wrong.
type Fault struct {
	Position
	Path string // where in the value, as in links[2].addr; "" is the whole
	Text string // what is wrong and what to do
}

// Error returns "line:column: path: text".
func (f *Fault) Error() string {
	if f.Path == "" {
		return f.Position.String() + ": " + f.Text
	}
	return f.Position.String() + ": " + f.Path + ": " + f.Text
}

// Positions tells where each value stood, by its path. It lets faults that only
// a look at the whole value reveals be reported with their place in the text.
type Positions map[string]Position

// Find returns the position of path or, where the text has no such value, of the
// nearest value around it.
func (p Positions) Find(path string) Position {
	for {
		if at, ok := p[path]; ok {
			return at
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return p[""]
		}
		path = path[:cut]
	}
}

// maxFaults bounds how many faults one text yields: nobody reads more.
const maxFaults = 50

// Unmarshal decodes data, which it borrows, into the struct that v points to.
// What data does not mention keeps its value, so defaults can be set before.
//
// The error joins (errors.Join) one *Fault for each unknown, repeated or mistyped
// key, in the order of the text, at most 50; a text that is no JSON yields one.
// After an error v holds what could be decoded. Unmarshal panics if v is not a
// pointer to a struct.
func Unmarshal(data []byte, v any) (Positions, error) {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		panic("strictjson: Unmarshal needs a pointer to a struct")
	}
	d := &decoder{data: data, dec: json.NewDecoder(bytes.NewReader(data)), positions: Positions{}}

	// The syntax first: from here on each token is known to be well-formed.
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		var syntax *json.SyntaxError
		offset := len(data)
		if errors.As(err, &syntax) {
			offset = max(0, int(syntax.Offset)-1)
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return nil, &Fault{Position{1, 1}, "", "the text is empty; want a JSON object"}
		}
		return nil, &Fault{d.position(min(offset, len(data))), "", "not valid JSON: " + err.Error()}
	}
	d.value(target.Elem(), "")
	return d.positions, errors.Join(d.faults...)
}

// A decoder walks the text and the value side by side.
type decoder struct {
	data      []byte
	dec       *json.Decoder
	positions Positions
	faults    []error
}

// position turns a byte offset into line and column.
func (d *decoder) position(offset int) Position {
	before := d.data[:offset]
	return Position{1 + bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')}
}

// next returns the offset of the next token, which is in data.
func (d *decoder) next() int {
	i := int(d.dec.InputOffset())
	for i < len(d.data) && strings.IndexByte(" \t\r\n,:", d.data[i]) >= 0 {
		i++
	}
	return i
}

// fault notes what is wrong at offset.
func (d *decoder) fault(offset int, path, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, &Fault{d.position(offset), path, fmt.Sprintf(format, args...)})
	}
}

// skip consumes one value.
func (d *decoder) skip() {
	var raw json.RawMessage
	_ = d.dec.Decode(&raw) // well-formed, and any value fits
}

// token consumes one delimiter or key. The syntax is known to be good.
func (d *decoder) token() json.Token {
	t, _ := d.dec.Token()
	return t
}

// decodesItself says whether pointers to t have a decoding method.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// value decodes the next value into v.
func (d *decoder) value(v reflect.Value, path string) {
	at := d.next()
	d.positions[path] = d.position(at)
	have := kindOf(d.data[at])
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer && have != "null":
		v.Set(reflect.New(t.Elem()))
		d.value(v.Elem(), path)
	case t.Kind() == reflect.Pointer:
		d.skip()
	case decodesItself(t):
		d.scalar(v, at, path)
	case t.Kind() == reflect.Struct && have == "an object":
		d.object(v, path)
	case t.Kind() == reflect.Slice && have == "a list":
		d.list(v, path)
	case have != kindFor(t):
		d.fault(at, path, "want %s, have %s", wanted(t), have)
		d.skip()
	default:
		d.scalar(v, at, path)
	}
}

// scalar decodes the next value with encoding/json.
func (d *decoder) scalar(v reflect.Value, at int, path string) {
	err := d.dec.Decode(v.Addr().Interface())
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
	case errors.As(err, &mistyped):
		d.fault(at, path, "want %s, have %s", wanted(v.Type()), strings.TrimPrefix(mistyped.Value, "number "))
	default:
		d.fault(at, path, "%s", err)
	}
}

// list decodes a JSON list; what v held before is replaced.
func (d *decoder) list(v reflect.Value, path string) {
	d.token()
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for i := 0; d.dec.More(); i++ {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(elem, path+"["+strconv.Itoa(i)+"]")
		v.Set(reflect.Append(v, elem))
	}
	d.token()
}

// object decodes a JSON object into a struct.
func (d *decoder) object(v reflect.Value, path string) {
	d.token()
	fields := fieldsOf(v.Type())
	seen := map[string]Position{}
	for d.dec.More() {
		at := d.next()
		key, _ := d.token().(string)
		full := key
		if path != "" {
			full = path + "." + key
		}
		first, again := seen[key]
		i, known := fields.index[key]
		switch {
		case again:
			d.fault(at, full, "the key stands here a second time; first at %s", first)
			d.skip()
		case !known:
			d.fault(at, path, "unknown key %q%s", key, fields.hint(key))
			d.skip()
		default:
			seen[key] = d.position(at)
			d.value(v.Field(i), full)
		}
	}
	d.token()
}

// fields are the keys of a struct.
type fields struct {
	names []string // in the order of the struct
	index map[string]int
}

func fieldsOf(t reflect.Type) fields {
	f := fields{index: map[string]int{}}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		f.names = append(f.names, name)
		f.index[name] = i
	}
	return f
}

// kindFor names the kind of JSON value that decodes into t, in kindOf's words.
func kindFor(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		return "an object"
	default:
		return "a number"
	}
}

// wanted says what decodes into t, for a fault.
func wanted(t reflect.Type) string {
	switch k := t.Kind(); {
	case k == reflect.Int || k == reflect.Int64:
		return "a whole number" // nobody is near the limits
	case k >= reflect.Int8 && k <= reflect.Int32:
		return fmt.Sprintf("a whole number from %d to %d", -1<<(t.Bits()-1), 1<<(t.Bits()-1)-1)
	case k >= reflect.Uint && k <= reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	default:
		return kindFor(t)
	}
}

// kindOf names the JSON value that begins with b.
func kindOf(b byte) string {
	switch b {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}
