package template

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Readable is the text of HTML for whoever reads no HTML: what is shown, a line for each block, and the address of a link
// behind its text.
func Readable(source string) string {
	w := reading{}
	tokens := html.NewTokenizer(strings.NewReader(source))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return w.end()
		case html.TextToken:
			if w.hidden == 0 {
				w.text(string(tokens.Text()), w.pre > 0)
			}
		case html.StartTagToken:
			w.start(tokens.Token(), false)
		case html.SelfClosingTagToken:
			w.start(tokens.Token(), true)
		case html.EndTagToken:
			w.finish(tokens.Token())
		}
	}
}

// reading is the text so far.
type reading struct {
	out strings.Builder
	// breaks are the ends of lines that are due before the next text, blank whether a blank is.
	breaks int
	blank  bool
	// hidden counts the open elements whose content is not shown, pre those whose blanks count.
	hidden, pre int
	links       []link
}

// link is an open one: its address, and where its text begins.
type link struct {
	address string
	begin   int
}

// blocks are the elements that begin on a line of their own, by the lines that stand between them and others.
var blocks = map[atom.Atom]int{
	atom.Address: 1, atom.Article: 2, atom.Blockquote: 2, atom.Div: 1, atom.Dl: 2, atom.Dt: 1, atom.Dd: 1, atom.Footer: 2, atom.Form: 1,
	atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2, atom.Header: 2, atom.Hr: 2, atom.Li: 1, atom.Main: 2,
	atom.Ol: 2, atom.P: 2, atom.Pre: 2, atom.Section: 2, atom.Table: 2, atom.Tr: 1, atom.Ul: 2, atom.Body: 1, atom.Center: 1,
}

func shown(a atom.Atom) bool {
	switch a {
	case atom.Head, atom.Script, atom.Style, atom.Template, atom.Title, atom.Noscript:
		return false
	}
	return true
}

func (w *reading) start(t html.Token, closed bool) {
	if !shown(t.DataAtom) {
		if !closed {
			w.hidden++
		}
		return
	}
	if w.hidden > 0 {
		return
	}
	w.line(blocks[t.DataAtom])
	switch t.DataAtom {
	case atom.Br:
		w.breaks = min(w.breaks+1, 2)
		w.blank = false
	case atom.Li:
		w.text("- ", true)
	case atom.Td, atom.Th:
		w.blank = true
	case atom.Img:
		w.text(attribute(t, "alt"), false)
	case atom.Pre:
		w.pre++
	case atom.A:
		if !closed {
			w.links = append(w.links, link{attribute(t, "href"), w.out.Len()})
		}
	}
}

func (w *reading) finish(t html.Token) {
	if !shown(t.DataAtom) {
		w.hidden = max(w.hidden-1, 0)
		return
	}
	if w.hidden > 0 {
		return
	}
	switch t.DataAtom {
	case atom.Pre:
		w.pre = max(w.pre-1, 0)
	case atom.A:
		if n := len(w.links); n > 0 {
			l := w.links[n-1]
			w.links = w.links[:n-1]
			text := strings.TrimSpace(w.out.String()[min(l.begin, w.out.Len()):])
			if l.address != "" && !strings.HasPrefix(l.address, "#") && text != l.address {
				w.blank = w.blank || text != ""
				w.text("<"+l.address+">", false)
			}
		}
	}
	w.line(blocks[t.DataAtom])
}

func attribute(t html.Token, name string) string {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// line ends the line, n times at least.
func (w *reading) line(n int) {
	if n > 0 {
		w.breaks, w.blank = max(w.breaks, n), false
	}
}

// text adds a text; as it is, or with one blank for each run of them.
func (w *reading) text(text string, asIs bool) {
	if text == "" {
		return
	}
	if asIs {
		w.due()
		w.out.WriteString(text)
		return
	}
	words := strings.FieldsFunc(text, isBlank)
	if isBlank(rune(text[0])) || len(words) == 0 {
		w.blank = true
	}
	for i, word := range words {
		if i > 0 {
			w.blank = true
		}
		w.due()
		w.out.WriteString(word)
	}
	if len(words) > 0 && isBlank(rune(text[len(text)-1])) {
		w.blank = true
	}
}

// isBlank: a no-break space is none.
func isBlank(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\f' }

// due writes the breaks or the blank that are due.
func (w *reading) due() {
	switch {
	case w.out.Len() == 0:
	case w.breaks > 0:
		w.out.WriteString(strings.Repeat("\n", w.breaks))
	case w.blank && !strings.HasSuffix(w.out.String(), " "):
		w.out.WriteByte(' ')
	}
	w.breaks, w.blank = 0, false
}

func (w *reading) end() string {
	text := strings.TrimRight(w.out.String(), " \n")
	if text == "" {
		return ""
	}
	return text + "\n"
}
