package clidoc

import (
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

func TestPages(t *testing.T) {
	app := kingpin.New("prog", "Does things.")
	app.Flag("file", "Where a|b.").Short('f').Default("/home/me/x").String()
	app.Flag("secret", "Not shown.").Hidden().Bool()
	cmd := app.Command("thing", "Things.")
	cmd.Flag("where", "Whose.").PlaceHolder("W").String()
	add := cmd.Command("add", "Add one.")
	add.Flag("type", "Which.").PlaceHolder("T").Required().String()
	add.Arg("name", "Its name.").Required().String()
	add.Arg("more", "And more.").String()
	got := Pages(app.Model(), "/home/me")
	want := map[string]string{
		"prog.md": header + `# prog

Does things.

    prog [flags] <command>

## Flags

| flag | |
| --- | --- |
| ` + "`--help`" + ` | Show context-sensitive help (also try --help-long and --help-man). |
| ` + "`-f, --file=FILE`" + ` | Where a\|b. Default: ` + "`DIR/x`, where DIR is `/etc/skywire` for root and `~/.config/skywire` for others" + `. |

## Commands

| command | |
| --- | --- |
| [thing](prog-thing.md) | Things. |
`,
		"prog-thing.md": header + `# prog thing

Things.

## Flags of its commands

| flag | |
| --- | --- |
| ` + "`--where=W`" + ` | Whose. |

## prog thing add

Add one.

    prog thing add --type=T [flags] <name> [<more>]

| argument | |
| --- | --- |
| ` + "`name`" + ` | Its name. |
| ` + "`more`" + ` | And more. |

| flag | |
| --- | --- |
| ` + "`--type=T`" + ` | Which. |

Flags that all commands have: [prog](prog.md).
`,
	}
	if len(got) != len(want) {
		t.Errorf("got %d pages, want %d", len(got), len(want))
	}
	for name, page := range want {
		if got[name] != page {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got[name], page)
		}
	}
}
