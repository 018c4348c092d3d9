package subscriberimport

import (
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

// Columns that a file must have.
const (
	columnMSISDN = "msisdn"
	columnClass  = "class_of_service"
	columnTime   = "activated_at"
)

// subscriber is a row while it is read.
type subscriber struct {
	msisdn   string
	at       time.Time
	currency string
	data     *eventv1.SubscriberActivated
	// options, in the order of format.Options, are nil where the row does not mention them.
	options [len(prefixes)]*eventv1.InitialOption
	faults  fault.Violations
}

// contact is the data's contact, created when the row has one.
func (s *subscriber) contact() *eventv1.Contact {
	if s.data.Contact == nil {
		s.data.Contact = &eventv1.Contact{}
	}
	return s.data.Contact
}

// option is the row's option, created when the row mentions it.
func (s *subscriber) option(i int) *eventv1.InitialOption {
	if s.options[i] == nil {
		s.options[i] = &eventv1.InitialOption{Option: format.Options[i]}
		s.data.Options = append(s.data.Options, s.options[i])
	}
	return s.options[i]
}

// column is a column that a file may have. set parses a cell that is not empty.
type column struct {
	name string
	help string
	set  func(s *subscriber, text string) error
}

// Column documents a column.
type Column struct{ Name, Help string }

// Columns are all columns that a file may have, in display order.
func Columns() []Column {
	all := make([]Column, len(columns))
	for i, c := range columns {
		all[i] = Column{c.name, c.help}
	}
	return all
}

// prefixes begin the columns of options, in the order of format.Options.
var prefixes = [...]string{"data_", "overspend_", "payment_"}

var columns = func() []column {
	all := []column{
		{columnMSISDN, "required; 5 to 15 digits, country code first, without + or 00", func(s *subscriber, text string) (err error) {
			s.msisdn, err = number(text)
			return err
		}},
		{columnClass, "required; id of its class of service", func(s *subscriber, text string) error {
			s.data.ClassOfService = text
			return atMost(64, text)
		}},
		{columnTime, "when it became a subscriber here, RFC 3339; --activated-at where empty", func(s *subscriber, text string) (err error) {
			s.at, err = event.ParseTime(text)
			return err
		}},
		{"imsi", "6 to 15 digits", func(s *subscriber, text string) error {
			s.data.Imsi = text
			if len(text) < 6 || len(text) > 15 || strings.Trim(text, "0123456789") != "" {
				return fmt.Errorf("must be 6 to 15 digits, not %.80q", text)
			}
			return nil
		}},
		{"language", "BCP 47, such as de or pt-BR", func(s *subscriber, text string) error {
			s.data.Language = text
			return language(text)
		}},
		{"contact_name", "", func(s *subscriber, text string) error {
			s.contact().Name = text
			return atMost(256, text)
		}},
		{"contact_email", "", func(s *subscriber, text string) error {
			s.contact().Email = text
			if a, err := mail.ParseAddress(text); err != nil || a.Address != text {
				return fmt.Errorf("must be an e-mail address, not %.80q", text)
			}
			return nil
		}},
		{"contact_phone", "digits as of msisdn", func(s *subscriber, text string) (err error) {
			s.contact().Phone, err = number(text)
			return err
		}},
		{"currency", "of amounts that do not name theirs, such as EUR", nil},
	}
	for i, prefix := range prefixes {
		states := make([]string, 0, 3)
		for _, state := range format.StatesOf(format.Options[i]) {
			states = append(states, format.State(state))
		}
		add := func(name, help string, set func(s *subscriber, o *eventv1.InitialOption, text string) error) {
			all = append(all, column{prefix + name, help, func(s *subscriber, text string) error {
				return set(s, s.option(i), text)
			}})
		}
		add("state", strings.Join(states, ", "), func(_ *subscriber, o *eventv1.InitialOption, text string) (err error) {
			o.State, err = format.ParseState(format.Options[i], text)
			return err
		})
		add("renewal_day", "1 to 28", func(_ *subscriber, o *eventv1.InitialOption, text string) error {
			day, err := strconv.ParseInt(text, 10, 32)
			if err != nil || day < 1 || day > 28 {
				return fmt.Errorf("must be a day from 1 to 28, not %.80q", text)
			}
			o.RenewalDay = int32(day)
			return nil
		})
		if format.Options[i] == eventv1.Safeguard_OPTION_OVERSPEND {
			add("current_limit", "such as 20 EUR", func(s *subscriber, o *eventv1.InitialOption, text string) (err error) {
				o.CurrentLimit, err = s.money(text)
				return err
			})
			add("next_limit", "from the next period on", func(s *subscriber, o *eventv1.InitialOption, text string) (err error) {
				o.NextLimit, err = s.money(text)
				return err
			})
		}
		add("spent", "in the period that runs at activated_at", func(s *subscriber, o *eventv1.InitialOption, text string) (err error) {
			o.Spent, err = s.money(text)
			return err
		})
	}
	return all
}()

// money is an amount that is not below 0.
func (s *subscriber) money(text string) (*money.Money, error) {
	m, err := format.ParseMoney(text, s.currency)
	if err == nil && (m.GetUnits() < 0 || m.GetNanos() < 0) {
		return nil, fmt.Errorf("must not be below 0, is %s", text)
	}
	return m, err
}

// number is the canonical form of a number. The error does not repeat it.
func number(text string) (string, error) {
	msisdn, ok := event.MSISDN(text)
	if !ok {
		return "", errors.New(event.FormMSISDN)
	}
	return msisdn, nil
}

func language(text string) error {
	for i := range len(text) {
		c := text[i]
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("must be a language such as de or pt-BR, not %.80q", text)
		}
	}
	return atMost(35, text)
}

func atMost(limit int, text string) error {
	if len(text) > limit {
		return fmt.Errorf("must be at most %d bytes, has %d", limit, len(text))
	}
	return nil
}

// header finds the column of each name in a file's first line; the error has every violation.
func header(names []string) ([]*column, error) {
	found := make([]*column, len(names))
	var f fault.Violations
	for i, name := range names {
		at := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
		switch {
		case at < 0:
			f.Add("", "%q is not a column; the columns are %s", name, known())
		case slices.Contains(found[:i], &columns[at]):
			f.Add(name, "occurs twice")
		default:
			found[i] = &columns[at]
		}
	}
	for _, name := range []string{columnMSISDN, columnClass} {
		if !slices.Contains(names, name) {
			f.Add(name, "is missing")
		}
	}
	return found, f.Err("HEADER_INVALID")
}

func known() string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}
