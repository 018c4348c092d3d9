package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep objects and arrays nest: far more than an event needs, and far less than what Protobuf's
// readers refuse later.
const maxDepth = 100

// ReadJSON is json.Unmarshal of text that has one meaning only. encoding/json reads what is not UTF-8, and each half of
// a surrogate pair, as U+FFFD, and of a name that is there twice the last: two texts would become one event.
func ReadJSON(text []byte, into any) error {
	if err := checkJSON(text); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// checkJSON finds what ReadJSON refuses beside what is no JSON.
func checkJSON(text []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(text))
	for {
		_, err := d.ReadToken()
		if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return fmt.Errorf("%w, at byte %d, in %q", wrong.Err, wrong.ByteOffset, wrong.JSONPointer)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case d.StackDepth() > maxDepth:
			return fmt.Errorf("more than %d objects and arrays nest", maxDepth)
		}
	}
}
