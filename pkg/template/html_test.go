package template

import (
	"strings"
	"testing"
)

func TestReadable_IsWhatIsShown(t *testing.T) {
	for source, want := range map[string]string{
		"<p>a</p><p>b</p>": "a\n\nb\n", "a<br>b": "a\nb\n", "<div>a</div><div>b</div>": "a\nb\n", " a \n  b ": "a b\n", "": "", "<p> </p>": "",
		`<p>O&#39;Brien &amp;amp; Daughters &lt;R&amp;D&gt;</p>`: "O'Brien &amp; Daughters <R&D>\n",
		`<a href="https://x.example/?a=1&amp;b=2">Pay</a> now`:   "Pay <https://x.example/?a=1&b=2> now\n", `<a href="https://x.example/">https://x.example/</a>`: "https://x.example/\n",
		`<a href="#top">Up</a>`: "Up\n", "<ul><li>a</li><li>b</li></ul>c": "- a\n- b\n\nc\n", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>": "a b\nc\n",
		"<style>p{}</style><script>x</script><head><title>t</title></head>a<!-- c -->": "a\n", `<img alt="Logo" src="x">a`: "Logoa\n", "<b>a</b><i>b</i>": "ab\n", "<b>a</b> <i>b</i>": "a b\n",
		"<pre>a\n  b</pre>": "a\n  b\n", "1234,50\u00a0€": "1234,50\u00a0€\n", "<h1>T</h1>x": "T\n\nx\n", "a<br><br><br>b": "a\n\nb\n", "</a></p></style>a": "a\n", "<script/>a": "a\n",
		"<p>{{.X}} &lt;script&gt;alert(1)&lt;/script&gt;</p>": "{{.X}} <script>alert(1)</script>\n",
	} {
		if got := Readable(source); got != want {
			t.Errorf("%s is %q, want %q", source, got, want)
		}
	}
}

// HTML of any shape takes time by its length alone.
func TestReadable_IsLinear(t *testing.T) {
	for _, part := range []string{"<a href=x>", "<a href=x>y</a> ", "<b> ", "<td>", "<br>", "&amp;", "<pre> "} {
		if got := Readable(strings.Repeat(part, MaxRendered/len(part))); len(got) > 2*MaxRendered {
			t.Errorf("%s became %d bytes", part, len(got))
		}
	}
}

func FuzzReadable(f *testing.F) {
	f.Add("<p>a <a href='x'>b</a></p><pre> c")
	f.Fuzz(func(t *testing.T, source string) {
		if got := Readable(source); strings.HasSuffix(got, "\n\n") || strings.HasPrefix(got, "\n") && !strings.Contains(source, "<pre") {
			t.Errorf("%q is %q", source, got)
		}
	})
}
