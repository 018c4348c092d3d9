package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/fault"
)

// root are the tokens of an invoice.
func root() *Shape {
	group := func(name string, fields map[string]Kind) *Shape {
		g := &Shape{Path: "." + name, Kind: Group, Fields: map[string]*Shape{}}
		for field, kind := range fields {
			g.Fields[field] = &Shape{Path: g.Path + "." + field, Kind: kind, Contact: name == "Contact"}
		}
		return g
	}
	return &Shape{Kind: Group, Fields: map[string]*Shape{
		"Invoice": group("Invoice", map[string]Kind{"Number": Text, "Total": Money, "DueDate": Date, "Lines": List, "Count": Number, "Paid": Boolean}),
		"Event":   group("Event", map[string]Kind{"Time": Moment}),
		"Contact": group("Contact", map[string]Kind{"Email": Text}),
	}}
}

func values(edit func(map[string]any)) map[string]any {
	v := root().zero().(map[string]any)
	if edit != nil {
		edit(v)
	}
	return v
}

func compile(source string, opts Options) (*Template, []string) {
	var f fault.Violations
	t := Compile(source, []Scope{{"invoice.posted", root()}}, opts, "text", &f)
	var out []string
	for _, v := range fault.ViolationsOf(f.Err("X")) {
		out = append(out, v.String())
	}
	return t, out
}

func render(t testing.TB, source string, opts Options, v map[string]any, r Reader) string {
	t.Helper()
	c, faults := compile(source, opts)
	if faults != nil {
		t.Fatal(faults)
	}
	text, err := c.Execute(v, r)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := c.Execute(v, r)
	if again != text {
		t.Errorf("rendered twice: %q, %q", text, again)
	}
	return text
}

func zone(t testing.TB, name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func invoice(edits ...any) map[string]any {
	return values(func(v map[string]any) {
		for i := 0; i < len(edits); i += 2 {
			v["Invoice"].(map[string]any)[edits[i].(string)] = edits[i+1]
		}
	})
}

func TestMoney_IsWrittenAsTheLanguageDoes(t *testing.T) {
	for _, tc := range []struct {
		amount         Amount
		language, want string
	}{
		{"EUR 1234.50", "es", "1234,50\u00a0€"},
		{"EUR 12345.50", "es", "12.345,50\u00a0€"},
		{"EUR 1234.50", "en-US", "€1,234.50"},
		{"EUR 1234.50", "de", "1.234,50\u00a0€"},
		{"EUR 1234.50", "de-AT", "€\u00a01.234,50"},
		{"EUR 1234.50", "xx", "€1,234.50"},
		{"EUR 1234.50", "", "€1,234.50"},
		{"EUR 1234.50", "not a tag\n", "€1,234.50"},
		{"JPY 1234", "ja", "￥1,234"},
		{"JPY 1234", "de", "1.234\u00a0¥"},
		{"KWD 1.500", "en", "KWD\u00a01.500"},
		{"EUR -0.50", "es", "-0,50\u00a0€"},
		{"EUR -0.50", "en", "-€0.50"},
		{"EUR 49.996", "en", "€49.996"},
		{"EUR 49.999999999", "en", "€49.999999999"},
		{"EUR 9223372036854775807.999999999", "en", "€9,223,372,036,854,775,807.999999999"},
		{"QQQ 1.00", "de", "1.00\u00a0QQQ"},
		{" 1.00", "de", "1.00"},
		{"", "de", ""},
	} {
		if got := render(t, "{{.Invoice.Total | money}}", Options{}, invoice("Total", tc.amount), Reader{Language: tc.language}); got != tc.want {
			t.Errorf("%s in %s is %q, want %q", tc.amount, tc.language, got, tc.want)
		}
	}
}

// Who is to be notified at 80 % of 50 EUR must not read that 50.00 are spent.
func TestCut_IsTowardsZero(t *testing.T) {
	for amount, want := range map[Amount]string{
		"EUR 49.996": "€49.99", "EUR -49.996": "-€49.99", "EUR 0.009": "€0.00", "EUR -0.009": "€0.00", "JPY 1.9": "¥1", "KWD 1.2345": "KWD\u00a01.234", "EUR 5.00": "€5.00", "": "",
	} {
		if got := render(t, "{{.Invoice.Total | cut | money}}", Options{}, invoice("Total", amount), Reader{}); got != want {
			t.Errorf("%s is %q, want %q", amount, got, want)
		}
	}
}

func TestDate_IsOneDayForAllAndAnInstantIsLocal(t *testing.T) {
	v := invoice("DueDate", Day("2027-01-30T23:00:00Z"))
	v["Event"].(map[string]any)["Time"] = Instant("2027-01-15T23:30:00Z")
	for _, tc := range []struct{ language, zone, due, day, posted string }{
		{"es", "Europe/Madrid", "31 de enero de 2027", "16 de enero de 2027", "16 ene. 2027, 0:30"},
		{"en-US", "America/Los_Angeles", "January 31, 2027", "January 15, 2027", "Jan 15, 2027, 3:30 pm"},
		{"ja", "Asia/Tokyo", "2027年1月31日", "2027年1月16日", "2027/01/16 8:30"},
		{"de", "Europe/Berlin", "31. Januar 2027", "16. Januar 2027", "16.01.2027, 00:30"},
	} {
		r := Reader{tc.language, zone(t, tc.zone), zone(t, "Europe/Madrid")}
		for source, want := range map[string]string{
			"{{.Invoice.DueDate | date}}": tc.due, "{{.Event.Time | date}}": tc.day, "{{.Event.Time | datetime}}": tc.posted,
			"{{.Invoice.DueDate}} {{.Event.Time}}": "2027-01-30T23:00:00Z 2027-01-15T23:30:00Z",
		} {
			if got := render(t, source, Options{}, v, r); got != want {
				t.Errorf("%s in %s is %q, want %q", source, tc.language, got, want)
			}
		}
	}
	if got := render(t, `{{.Invoice.DueDate | date | default "never"}} {{.Event.Time | datetime}}`, Options{}, values(nil), Reader{}); got != "never " {
		t.Errorf("what is absent is %q", got)
	}
}

func TestPlural_HasTheCategoriesOfTheLanguage(t *testing.T) {
	source := `{{.Invoice.Count}} {{plural .Invoice.Count "one" "rachunek" "few" "rachunki" "many" "rachunków" "other" "rachunku"}}`
	for n, want := range map[int64]string{1: "1 rachunek", 3: "3 rachunki", 5: "5 rachunków", 22: "22 rachunki", 0: "0 rachunków"} {
		if got := render(t, source, Options{}, invoice("Count", n), Reader{Language: "pl"}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := render(t, `{{plural .Invoice.Count "one" "invoice" "other" "invoices"}}`, Options{}, invoice("Count", int64(2)), Reader{Language: "ar"}); got != "invoices" {
		t.Errorf("a category without a text is %q", got)
	}
}

// The tables of a language are complete: every month and both halves of the day have their words.
func TestLanguages_WriteEveryMonth(t *testing.T) {
	for tag := range languages {
		for month := range 12 {
			for _, hour := range []int{3, 15} {
				at := Instant(time.Date(2027, time.Month(month+1), 28, hour, 5, 0, 0, time.UTC).Format(time.RFC3339))
				r := Reader{Language: tag}
				if d, dt := r.date(at), r.datetime(at); d == "" || dt == "" {
					t.Errorf("%s: %q %q", tag, d, dt)
				}
			}
		}
		for n := range 200 {
			if got := (Reader{Language: tag}).plural(int64(n), "other", "x"); got != "x" {
				t.Errorf("%s: %d is %q", tag, n, got)
			}
		}
		if got := (Reader{Language: tag}).money("EUR -1234.567"); !strings.ContainsAny(got, "4٤۴४") {
			t.Errorf("%s: %q", tag, got)
		}
	}
	for tag, want := range map[string]string{"pt-BR": "pt", "PT_pt": "pt_PT", "zh-TW": "zh_Hant", "de-CH-1996": "de_CH", "nb-NO": "nb", "no": "nb", "tlh": "en", "e": "en"} {
		if got := (Reader{Language: tag}).locale().Locale(); got != want {
			t.Errorf("%s is %s, want %s", tag, got, want)
		}
	}
}

func TestHTML_IsEscapedByThePlaceOfAValue(t *testing.T) {
	const source = `<p title="{{.Invoice.Number}}">{{.Invoice.Number}} <a href="https://portal.example/i?n={{.Invoice.Number}}">x</a></p>`
	for value, want := range map[string]string{
		`Müller & Söhne <R&D> "Nord"`: `<p title="Müller &amp; Söhne &lt;R&amp;D&gt; &#34;Nord&#34;">Müller &amp; Söhne &lt;R&amp;D&gt; &#34;Nord&#34; ` +
			`<a href="https://portal.example/i?n=M%c3%bcller%20%26%20S%c3%b6hne%20%3cR%26D%3e%20%22Nord%22">x</a></p>`,
		`O'Brien &amp; Daughters`:      `<p title="O&#39;Brien &amp;amp; Daughters">O&#39;Brien &amp;amp; Daughters <a href="https://portal.example/i?n=O%27Brien%20%26amp%3b%20Daughters">x</a></p>`,
		`{{.Tenant.Name}} {{range .}}`: `<p title="{{.Tenant.Name}} {{range .}}">{{.Tenant.Name}} {{range .}} <a href="https://portal.example/i?n=%7b%7b.Tenant.Name%7d%7d%20%7b%7brange%20.%7d%7d">x</a></p>`,
		`<script>alert(1)</script>`:    `<p title="&lt;script&gt;alert(1)&lt;/script&gt;">&lt;script&gt;alert(1)&lt;/script&gt; <a href="https://portal.example/i?n=%3cscript%3ealert%281%29%3c%2fscript%3e">x</a></p>`,
		"\" onmouseover=\"alert(1)":    "<p title=\"&#34; onmouseover=&#34;alert(1)\">&#34; onmouseover=&#34;alert(1) <a href=\"https://portal.example/i?n=%22%20onmouseover%3d%22alert%281%29\">x</a></p>",
	} {
		if got := render(t, source, Options{Escape: HTML}, invoice("Number", value), Reader{}); got != want {
			t.Errorf("%s is\n%s, want\n%s", value, got, want)
		}
	}
	if got := render(t, `<a href="{{.Invoice.Number}}">x</a>`, Options{Escape: HTML}, invoice("Number", "javascript:alert(1)"), Reader{}); strings.Contains(got, "javascript") {
		t.Error(got)
	}
	if got := render(t, `<b>{{.Invoice.Total | money}}</b> <i title="{{.Invoice.DueDate | date}}">{{.Invoice.Total}}</i>`, Options{Escape: HTML},
		invoice("Total", Amount("EUR 1.00"), "DueDate", Day("2027-01-30T23:00:00Z")), Reader{Language: "de"}); got != "<b>1,00\u00a0€</b> <i title=\"30. Januar 2027\">1.00</i>" {
		t.Error(got)
	}
}

func TestURL_HasItsValuesPercentEncoded(t *testing.T) {
	if got := render(t, "https://portal.example/u?a={{.Invoice.Number}}&b={{.Invoice.Count}}", Options{Escape: URL}, invoice("Number", "a b&c=\r\n>,é", "Count", int64(7)), Reader{}); got != "https://portal.example/u?a=a%20b%26c%3D%0D%0A%3E%2C%C3%A9&b=7" {
		t.Error(got)
	}
}

func TestCompile_ListsEveryFault(t *testing.T) {
	long := strings.Repeat("x", MaxSource+1)
	for source, want := range map[string][]string{
		"{{.Invoice.Totl | money}} {{.X.Y}}":            {"text: INVALID_TOKEN: .Invoice.Totl does not exist for invoice.posted, the nearest that exists is .Invoice.Total", "INVALID_TOKEN: .X does not exist"},
		"{{.Invoice.Number | money}}":                   {"money takes one amount"},
		"{{.Invoice.Total | date}}":                     {"date takes one day or instant"},
		"{{.Invoice.DueDate | datetime}}":               {"datetime takes one instant: a day has no time"},
		"{{.Event.Time | money}}{{.Invoice.Count|cut}}": {"money takes one amount", "cut takes one amount"},
		`{{plural .Invoice.Count "one" "x"}}`:           {`plural takes a number`},
		`{{plural .Invoice.Count "one" .Invoice.Number "other" "x"}}{{plural "one" "other" "x"}}`: {"plural takes a number"},
		`{{plural .Invoice.Count "lots" "x" "other" "y"}}`:                                        {"plural takes a number"},
		`{{.Invoice.Count | plural "other" "y"}}`:                                                 {"plural takes a number"},
		"{{linked .Invoice.Number}}{{money}}{{print 1}}":                                          {`function "linked" is not allowed`, "money takes one amount", `function "print" is not allowed`},
		"{{range 1000000000}}x{{end}}":                                                            {"it is a number, not a list"},
		"{{range .Invoice.Lines}}{{range $.Invoice.Lines}}{{end}}{{end}}":                         {"range within range"},
		"{{if eq .Invoice.Total \"1.00\" .Invoice.Count}}{{end}}":                                 {"eq compares values of one kind"},
		"{{$x := 1}}{{break}}":                                                                    {"{{break}} outside"},
		"{{template \"text\"}}":                                                                   {"is not allowed"},
		"{{block \"x\" .}}{{end}}":                                                                {"must not define templates", "is not allowed"},
		"{{.Invoice.Number":                                                                       {"text:1: unclosed action"},
		"{{nil}}{{1.5}}{{'x' | x}}":                                                               {"text:1"},
		long:                                                                                      {"must be at most 16384 bytes"},
	} {
		_, got := compile(source, Options{})
		if len(got) != len(want) {
			t.Errorf("%.80s: %q, want %q", source, got, want)
			continue
		}
		for i, part := range want {
			if !strings.Contains(got[i], part) {
				t.Errorf("%.80s: %q lacks %q", source, got[i], part)
			}
		}
	}
	for source, want := range map[string]string{
		`<a href="{{if .Invoice.Paid}}x">{{end}}`:                        "branches end in different contexts",
		`<a href='{{.Invoice.Number}}`:                                   "ends in a non-text context",
		`<script>var x = {{if .Invoice.Paid}}"{{else}}1{{end}}</script>`: "different contexts",
	} {
		if _, got := compile(source, Options{Escape: HTML}); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q", source, got)
		}
	}
	if _, got := compile("{{.Contact.Email}}{{.Contact.Emai}}", Options{NoContact: "is for others"}); len(got) != 2 || got[0] != "text: CONTACT_TOKEN: .Contact.Email is for others" ||
		!strings.HasSuffix(got[1], "the nearest that exists is .Event.Time") {
		t.Errorf("%q", got)
	}
}

func TestExecute_StopsAtTheBound(t *testing.T) {
	for _, escape := range []Escape{Plain, HTML} {
		c, faults := compile("{{range .Invoice.Lines}}{{.}}{{end}}", Options{Escape: escape})
		if faults != nil {
			t.Fatal(faults)
		}
		lines := make([]string, 100)
		for i := range lines {
			lines[i] = strings.Repeat("x", MaxRendered/10)
		}
		if text, err := c.Execute(invoice("Lines", lines), Reader{}); !errors.Is(err, ErrTooLarge) || text != "" {
			t.Errorf("%d bytes, error %v", len(text), err)
		}
	}
}

func TestEq_ComparesTextsOfAllKinds(t *testing.T) {
	v := invoice("Total", Amount("EUR 5.00"), "Count", int64(3), "Number", "5.00", "Paid", true)
	for source, want := range map[string]string{
		`{{eq .Invoice.Total "5.00"}}`: "true", `{{eq .Invoice.Total .Invoice.Number}}`: "true", `{{ne .Invoice.Total "5"}}`: "true", `{{eq .Invoice.Count 3}}`: "true",
		`{{eq .Invoice.Count 1 2 3}}`: "true", `{{eq .Invoice.Paid true}}`: "true", `{{ne .Invoice.Count 3}}`: "false", `{{if .Invoice.Total}}x{{end}}`: "x",
		`{{if .Invoice.DueDate}}x{{else}}y{{end}}`: "y", `{{or .Invoice.DueDate .Invoice.Total}}`: "5.00", `{{upper (or .Invoice.DueDate "x")}}`: "X", `{{lower .Invoice.Total}}`: "5.00",
		`{{with .Invoice}}{{with .Total}}{{. | money}}{{end}}{{end}}`: "€5.00", `{{if gt .Invoice.Count 2}}{{default "a" (.Invoice.Total | money)}}{{end}}`: "€5.00",
	} {
		if got := render(t, source, Options{}, v, Reader{}); got != want {
			t.Errorf("%s is %q, want %q", source, got, want)
		}
	}
}

// FuzzCompile: whatever compiles ends, within its bound, without an error but that of the bound, and the same twice.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"{{.Invoice.Total | money}}", "{{with .Invoice}}{{range .Lines}}{{. | upper}}{{end}}{{end}}", `{{plural .Invoice.Count "one" "x" "other" "y"}}`,
		`<p title="{{.Invoice.Number}}">{{if .Invoice.Paid}}<b>{{else}}<i>{{end}}`, "{{range 1e9}}{{end}}", "{{define \"text\"}}{{template \"text\"}}{{end}}", "{{(.Invoice).Total}}",
		"{{.Invoice.DueDate | date | default \"-\"}}{{/* */}}", "{{if not (and .Invoice.Paid true)}}{{else if eq 1 2}}{{end}}", "<script>{{.Invoice.Number}}</script>", "{{$.Invoice.Number}}{{$}}",
	} {
		for e := range byte(len(escapes)) {
			f.Add(s, e)
		}
	}
	full := invoice("Number", "<a>&\"'\x00\u2028", "Total", Amount("EUR -0.005"), "DueDate", Day("2027-01-30T23:00:00Z"), "Lines", []string{"a", "<b>"}, "Count", int64(-1), "Paid", true)
	f.Fuzz(func(t *testing.T, source string, escape byte) {
		c, faults := compile(source, Options{Escape: Escape(escape % byte(len(escapes)))})
		if faults != nil {
			return
		}
		for _, v := range []map[string]any{values(nil), full} {
			first, err := c.Execute(v, Reader{Language: "de"})
			if err != nil && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%q: %v", source, err)
			}
			if again, _ := c.Execute(v, Reader{Language: "de"}); again != first {
				t.Fatalf("%q: %q, then %q", source, first, again)
			}
		}
		if escape%byte(len(escapes)) == uint8(HTML) {
			if text, err := c.Execute(full, Reader{}); err == nil && !strings.Contains(source, "<a>") && strings.Contains(text, "<a>") {
				t.Fatalf("%q: a value became an element: %q", source, text)
			}
		}
	})
}

// Whatever a value is, a text of JSON around it is one.
func TestJSON_ValuesStayWithinTheirText(t *testing.T) {
	source := `{"number":"{{.Invoice.Number}}","lines":[{{range .Invoice.Lines}}"{{. | upper}}",{{end}}""],"count":{{.Invoice.Count}}}`
	rapid.Check(t, func(t *rapid.T) {
		number, line := rapid.String().Draw(t, "number"), string(rapid.SliceOf(rapid.Byte()).Draw(t, "line"))
		c, faults := compile(source, Options{Escape: JSON})
		if faults != nil {
			t.Fatal(faults)
		}
		text, err := c.Execute(invoice("Number", number, "Lines", []string{line}, "Count", int64(7)), Reader{})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Number string
			Lines  []string
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got.Number != number || len(got.Lines) != 2 {
			t.Fatalf("%s is %+v, %v", text, got, err)
		}
	})
}

func BenchmarkExecute(b *testing.B) {
	v := invoice("Number", "36-1 & more", "Total", Amount("EUR 1234.50"), "DueDate", Day("2027-01-30T23:00:00Z"), "Count", int64(3))
	v["Event"].(map[string]any)["Time"] = Instant("2027-01-15T23:30:00Z")
	for name, expression := range map[string]string{
		"token": "{{.Invoice.Number}}", "money": "{{.Invoice.Total | money}}", "cut": "{{.Invoice.Total | cut}}", "date": "{{.Invoice.DueDate | date}}",
		"datetime": "{{.Event.Time | datetime}}", "plural": `{{plural .Invoice.Count "one" "a" "other" "b"}}`,
	} {
		for _, e := range []Escape{Plain, HTML, URL} {
			c, faults := compile(strings.Repeat(expression, 100), Options{Escape: e})
			if faults != nil {
				b.Fatal(faults)
			}
			b.Run(fmt.Sprintf("%s/%d", name, e), func(b *testing.B) {
				for b.Loop() {
					if _, err := c.Execute(v, Reader{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(c.Cost.Once), "ns/step")
			})
		}
	}
}
