package webhook_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Numbers that JSON lacks, and values that a newer producer knows, are as in Protobuf's JSON.
func TestData_WritesNumbersAsProtobufDoes(t *testing.T) {
	for _, n := range []float64{0, 1, -1.5, 1e20, 1e21, 1e-6, 1e-7, 123456789.125, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1)} {
		data := &eventv1.BalanceChanged{ThresholdPercent: n, Level: 99, Cycle: math.MinInt64}
		m, err := render(t, of("balance.changed", "account/7", data), webhook.Endpoint{Profile: webhook.CloudEventsBinary}, channel.Position{})
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := protojson.MarshalOptions{EmitUnpopulated: false}.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		var a, b map[string]json.RawMessage
		if json.Unmarshal(m.Body, &a) != nil || json.Unmarshal(theirs, &b) != nil {
			t.Fatalf("%s and %s", m.Body, theirs)
		}
		for key, want := range b {
			if string(a[key]) != string(want) {
				t.Errorf("%s is %s, want %s", key, a[key], want)
			}
		}
		if n == 0 && string(a["thresholdPercent"]) != "0" {
			t.Errorf("0 is %s", a["thresholdPercent"])
		}
	}
}

// What an application reads back is the data, less what may not leave.
func TestData_IsProtobufsJSONOfTheData(t *testing.T) {
	for _, typ := range event.Types() {
		full := proto.Clone(typ.Data)
		channeltest.Fill(full.ProtoReflect())
		for _, data := range []proto.Message{typ.Data, full} {
			for _, personal := range []bool{false, true} {
				m, err := render(t, of(typ.Name, "447700900123", data), webhook.Endpoint{Profile: webhook.CloudEventsBinary, IncludePersonal: personal}, channel.Position{})
				if err != nil {
					t.Fatal(err)
				}
				back := data.ProtoReflect().New().Interface()
				if err := protojson.Unmarshal(m.Body, back); err != nil {
					t.Fatalf("%s: %v: %s", typ.Name, err, m.Body)
				}
				if want := event.WithoutContact(data, personal); !proto.Equal(back, want) {
					t.Errorf("%s:\n got %v\nwant %v", typ.Name, back, want)
				}
			}
		}
	}
}

// False and zero are written, of every message that is there; what is not there, and what may not leave, is not.
func TestData_WritesFalseAndZeroAndNothingThatIsAbsent(t *testing.T) {
	m, err := render(t, of("usage.charged", "447700900123", &eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR"}}), webhook.Endpoint{Profile: webhook.CloudEventsBinary}, channel.Position{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"roaming":false,"outOfBundle":false,"thirdParty":false,"blocked":false,"net":{"currencyCode":"EUR","units":"0","nanos":0},"quantity":"0"}`
	if string(m.Body) != want {
		t.Errorf("%s, want %s", m.Body, want)
	}
}

// No profile lets contact fields leave, and personal ones only where they may: each text is filled with its own path.
func TestProfiles_HaveNoContactAndPersonalOnlyWhereIncluded(t *testing.T) {
	wholeData := []webhook.Profile{webhook.Tollgate, webhook.CloudEventsBinary, webhook.Transatel, webhook.Ocsio}
	checked := map[channel.Audience]int{}
	for _, typ := range event.Types() {
		full := proto.Clone(typ.Data)
		paths := map[string]channel.Audience{}
		fillPaths(full.ProtoReflect(), "", channel.Public, paths)
		for _, profile := range profiles {
			for _, allowed := range []channel.Audience{channel.Public, channel.Personal} {
				m, err := render(t, of(typ.Name, "447700900123", full), webhook.Endpoint{Profile: profile, IncludePersonal: allowed == channel.Personal}, channel.Position{})
				if err != nil {
					t.Fatal(err)
				}
				text := fmt.Sprintf("%s %v", m.Body, m.Headers)
				for path, of := range paths {
					checked[of]++
					switch leaves := strings.Contains(text, path); {
					case leaves && of > allowed:
						t.Errorf("%s of %s lets %s leave: %s", profile, typ.Name, path, text)
					case !leaves && of <= allowed && slices.Contains(wholeData, profile):
						t.Errorf("%s of %s holds %s back: %s", profile, typ.Name, path, text)
					}
				}
			}
		}
	}
	if checked[channel.Public] < 500 || checked[channel.Personal] < 100 || checked[channel.Contact] < 100 {
		t.Errorf("checked %v", checked)
	}
}

// fillPaths sets every text to the path where it stands, and names who may read it.
func fillPaths(m protoreflect.Message, above string, of channel.Audience, paths map[string]channel.Audience) {
	for i := range m.Descriptor().Fields().Len() {
		f, of := m.Descriptor().Fields().Get(i), of
		switch personal, contact := event.PersonalField(f); {
		case contact:
			of = channel.Contact
		case personal:
			of = max(of, channel.Personal)
		}
		path := above + "<" + string(f.Name()) + ">"
		switch {
		case f.Message() != nil && f.Message().FullName() == "google.protobuf.Struct":
			m.Set(f, protoreflect.ValueOfMessage((&structpb.Struct{Fields: map[string]*structpb.Value{path: structpb.NewNullValue()}}).ProtoReflect()))
			paths[path] = of
		case f.Message() != nil && strings.HasPrefix(string(f.Message().FullName()), "google."):
		case f.IsList() && f.Message() != nil:
			fillPaths(m.Mutable(f).List().AppendMutable().Message(), path, of, paths)
		case f.Message() != nil && f.ContainingOneof() == nil:
			fillPaths(m.Mutable(f).Message(), path, of, paths)
		case f.Kind() == protoreflect.StringKind:
			v := protoreflect.ValueOfString(path)
			if paths[path] = of; f.IsList() {
				m.Mutable(f).List().Append(v)
			} else {
				m.Set(f, v)
			}
		}
	}
}
