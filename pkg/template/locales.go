package template

import (
	"strings"

	"github.com/go-playground/locales"
	"github.com/go-playground/locales/ar"
	"github.com/go-playground/locales/bg"
	"github.com/go-playground/locales/bs"
	"github.com/go-playground/locales/ca"
	"github.com/go-playground/locales/cs"
	"github.com/go-playground/locales/cy"
	"github.com/go-playground/locales/da"
	"github.com/go-playground/locales/de"
	"github.com/go-playground/locales/de_AT"
	"github.com/go-playground/locales/de_CH"
	"github.com/go-playground/locales/el"
	"github.com/go-playground/locales/en"
	"github.com/go-playground/locales/en_AU"
	"github.com/go-playground/locales/en_CA"
	"github.com/go-playground/locales/en_GB"
	"github.com/go-playground/locales/en_IE"
	"github.com/go-playground/locales/en_IN"
	"github.com/go-playground/locales/en_NZ"
	"github.com/go-playground/locales/en_ZA"
	"github.com/go-playground/locales/es"
	"github.com/go-playground/locales/es_419"
	"github.com/go-playground/locales/es_AR"
	"github.com/go-playground/locales/es_CL"
	"github.com/go-playground/locales/es_CO"
	"github.com/go-playground/locales/es_MX"
	"github.com/go-playground/locales/es_PE"
	"github.com/go-playground/locales/es_US"
	"github.com/go-playground/locales/et"
	"github.com/go-playground/locales/eu"
	"github.com/go-playground/locales/fa"
	"github.com/go-playground/locales/fi"
	"github.com/go-playground/locales/fil"
	"github.com/go-playground/locales/fr"
	"github.com/go-playground/locales/fr_BE"
	"github.com/go-playground/locales/fr_CA"
	"github.com/go-playground/locales/fr_CH"
	"github.com/go-playground/locales/ga"
	"github.com/go-playground/locales/gl"
	"github.com/go-playground/locales/he"
	"github.com/go-playground/locales/hi"
	"github.com/go-playground/locales/hr"
	"github.com/go-playground/locales/hu"
	"github.com/go-playground/locales/hy"
	"github.com/go-playground/locales/id"
	"github.com/go-playground/locales/is"
	"github.com/go-playground/locales/it"
	"github.com/go-playground/locales/it_CH"
	"github.com/go-playground/locales/ja"
	"github.com/go-playground/locales/ka"
	"github.com/go-playground/locales/kk"
	"github.com/go-playground/locales/ko"
	"github.com/go-playground/locales/lb"
	"github.com/go-playground/locales/lt"
	"github.com/go-playground/locales/lv"
	"github.com/go-playground/locales/mk"
	"github.com/go-playground/locales/ms"
	"github.com/go-playground/locales/mt"
	"github.com/go-playground/locales/nb"
	"github.com/go-playground/locales/nl"
	"github.com/go-playground/locales/nl_BE"
	"github.com/go-playground/locales/nn"
	"github.com/go-playground/locales/pl"
	"github.com/go-playground/locales/pt"
	"github.com/go-playground/locales/pt_PT"
	"github.com/go-playground/locales/ro"
	"github.com/go-playground/locales/ru"
	"github.com/go-playground/locales/sk"
	"github.com/go-playground/locales/sl"
	"github.com/go-playground/locales/sq"
	"github.com/go-playground/locales/sr"
	"github.com/go-playground/locales/sr_Latn"
	"github.com/go-playground/locales/sv"
	"github.com/go-playground/locales/sw"
	"github.com/go-playground/locales/th"
	"github.com/go-playground/locales/tr"
	"github.com/go-playground/locales/uk"
	"github.com/go-playground/locales/ur"
	"github.com/go-playground/locales/uz"
	"github.com/go-playground/locales/vi"
	"github.com/go-playground/locales/zh"
	"github.com/go-playground/locales/zh_Hant"
	"github.com/go-playground/locales/zh_Hant_HK"
)

// languages are those in which days and numbers are written; each takes some 30 KB of the binary. Of a language that is
// there without the region, the region's forms are those of the language.
var languages = func() map[string]locales.Translator {
	known := map[string]locales.Translator{}
	for _, l := range []locales.Translator{
		ar.New(), bg.New(), bs.New(), ca.New(), cs.New(), cy.New(), da.New(), de.New(), de_AT.New(), de_CH.New(), el.New(),
		en.New(), en_AU.New(), en_CA.New(), en_GB.New(), en_IE.New(), en_IN.New(), en_NZ.New(), en_ZA.New(), es.New(),
		es_419.New(), es_AR.New(), es_CL.New(), es_CO.New(), es_MX.New(), es_PE.New(), es_US.New(), et.New(), eu.New(),
		fa.New(), fi.New(), fil.New(), fr.New(), fr_BE.New(), fr_CA.New(), fr_CH.New(), ga.New(), gl.New(), he.New(),
		hi.New(), hr.New(), hu.New(), hy.New(), id.New(), is.New(), it.New(), it_CH.New(), ja.New(), ka.New(), kk.New(),
		ko.New(), lb.New(), lt.New(), lv.New(), mk.New(), ms.New(), mt.New(), nb.New(), nl.New(), nl_BE.New(), nn.New(),
		pl.New(), pt.New(), pt_PT.New(), ro.New(), ru.New(), sk.New(), sl.New(), sq.New(), sr.New(), sr_Latn.New(),
		sv.New(), sw.New(), th.New(), tr.New(), uk.New(), ur.New(), uz.New(), vi.New(), zh.New(), zh_Hant.New(),
		zh_Hant_HK.New(),
	} {
		known[normal(l.Locale())] = l
	}
	for alias, of := range map[string]string{
		"no": "nb", "iw": "he", "in": "id", "tl": "fil", "zh-tw": "zh-hant", "zh-mo": "zh-hant-hk", "zh-hk": "zh-hant-hk", "sh": "sr-latn",
	} {
		known[alias] = known[of]
	}
	return known
}()

func normal(tag string) string { return strings.ToLower(strings.ReplaceAll(tag, "_", "-")) }

// locale is that of the reader's language: the region's, else the language's, else English.
func (r Reader) locale() locales.Translator {
	for tag := normal(r.Language); tag != ""; {
		if l, ok := languages[tag]; ok {
			return l
		}
		i := strings.LastIndexByte(tag, '-')
		tag = tag[:max(i, 0)]
	}
	return languages["en"]
}

// tag is the reader's language; English where it has none.
func (r Reader) tag() string {
	if r.Language == "" {
		return "en"
	}
	return r.Language
}
