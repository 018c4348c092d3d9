package rules

import (
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Which tokens exist on which event. A token exists only where its context does: a bill run has no account, because
// many belong to one. Tokens name paths in the type's message, and take from there what they are: a number, a list, and
// whom they may reach.

// contextsOf are the groups of tokens of an event type.
func contextsOf(t event.Type) []tokenGroup {
	groups := []tokenGroup{core, envelope}
	groups = append(groups, dataContexts(t)...)
	return groups
}

func dataContexts(t event.Type) []tokenGroup {
	of := func(groups ...groupSpec) []tokenGroup { return bind(t.Data, groups) }
	switch t.Data.(type) {
	case *eventv1.ClientChanged:
		return of(account("client"), contactAt("contact"))
	case *eventv1.ClientCustomFieldsUpdated:
		return of(groupSpec{"Account", []spec{at("Id", "id")}})
	case *eventv1.ClientBalance:
		return of(groupSpec{"Account", []spec{
			at("Id", "id"), at("Name", "name"), at("Balance", "after"), at("BalanceBefore", "before"), currencyAt("after", "before"),
		}}, contactAt("contact"))

	case *eventv1.AccountChanged:
		return of(account("account", at("Reason", "reason")), contactAt("contact"))
	case *eventv1.AccountStatusChanged:
		return of(account("account", at("PreviousStatus", "previous_status"), at("Reason", "reason")), contactAt("contact"))
	case *eventv1.AccountContractUnderCommit:
		return of(account("account"), groupSpec{"AccountContract", []spec{
			at("Id", "contract"), at("Commit", "commit"), at("Used", "used"), at("Shortfall", "shortfall"),
			currencyAt("commit", "used", "shortfall"), at("Tier", "tier"), at("PeriodStart", "period_start"), at("PeriodEnd", "period_end"),
		}})

	case *eventv1.PackageChanged:
		return of(account("account"), contactAt("contact"), accountPackage("package", at("PreviousStatus", "previous_status"), at("Reason", "reason")))
	case *eventv1.ServiceChanged:
		return of(account("account"), contactAt("contact"), accountPackage("package"), groupSpec{"AccountService", under("service", []spec{
			at("Id", "id"), at("Name", "name"), at("Identifier", "identifier"), at("StateBefore", "state_before"),
			at("StateAfter", "state_after"), at("LastUsed", "last_used"),
		})})

	case *eventv1.BillRunChanged:
		return of(billRun("bill_run"))
	case *eventv1.BillRunFailed:
		return of(billRun("bill_run"), processingError("BillRunError", "error"))
	case *eventv1.DocumentChanged:
		return of(account("account"), contactAt("contact"), invoice("document", at("DueBefore", "due_before")))
	case *eventv1.PaymentChanged:
		groups := []groupSpec{account("account"), payment("payment")}
		if t.Name == "payment.failed" {
			groups = append(groups, processingError("PaymentError", "error"))
		}
		return of(groups...)

	case *eventv1.BalanceChanged:
		return of(account("account"), contactAt("contact"), usageBucket("bucket",
			at("ThresholdPercent", "threshold_percent"), at("Offer", "offer"), at("OfferSubscription", "offer_subscription"),
			at("Level", "level"), at("Effective", "effective"), at("Reason", "reason"), at("PeriodStart", "period_start"),
			at("PeriodEnd", "period_end"), at("Cycle", "cycle")))
	case *eventv1.UsageCharged:
		return of(subscriber(), groupSpec{"Usage", []spec{
			at("Category", "category"), at("Roaming", "roaming"), at("OutOfBundle", "out_of_bundle"), at("ThirdParty", "third_party"),
			at("Blocked", "blocked"), at("Net", "net"), at("Gross", "gross"), currencyAt("net", "gross"), at("Quantity", "quantity"),
			at("Unit", "unit"), at("VisitedCountry", "visited_country"), at("Service", "service"),
		}})
	}
	return append(subscriberContexts(t.Data), operationContexts(t.Data)...)
}

func subscriberContexts(data proto.Message) []tokenGroup {
	of := func(groups ...groupSpec) []tokenGroup { return bind(data, groups) }
	switch data.(type) {
	case *eventv1.SubscriberActivated:
		return of(subscriber(at("Imsi", "imsi"), at("ClassOfService", "class_of_service"), at("Language", "language")), contactAt("contact"))
	case *eventv1.SubscriberTerminated, *eventv1.SubscriberStatusChanged:
		return of(subscriber(at("Reason", "reason")))
	case *eventv1.SubscriberMsisdnChanged:
		return of(subscriber(at("NewMsisdn", "new_msisdn")))
	case *eventv1.SubscriberSimSwapped:
		return of(subscriber(at("Imsi", "new_imsi"), at("PreviousImsi", "old_imsi"), at("Iccid", "new_iccid"), at("PreviousIccid", "old_iccid")))
	case *eventv1.SubscriberClassOfServiceChanged:
		return of(subscriber(at("ClassOfService", "class_of_service"), at("PreviousClassOfService", "previous_class_of_service")))
	case *eventv1.SubscriberRoamingChanged:
		return of(subscriber(at("Roaming", "roaming"), at("Country", "country"), at("PreviousCountry", "previous_country"), at("Network", "network")))
	case *eventv1.Safeguard:
		return of(subscriber(at("Imsi", "imsi"), at("ClassOfService", "class_of_service"), at("Language", "language")), groupSpec{"Option", []spec{
			at("Name", "option"), at("State", "state"), at("Limit", "limit"), at("NextLimit", "next_limit"),
			at("PerPaymentLimit", "per_payment_limit"), at("Spent", "spent"), currencyAt("limit", "spent"), at("Blocked", "blocked"),
			at("Threshold", "threshold.amount"), at("ThresholdPercent", "threshold.percent"), at("SecondNotice", "threshold.second_notice"),
			at("AlertThresholds", "alert_thresholds"), at("Overshoot", "overshoot"), at("Late", "late"),
			at("PeriodStart", "period_start"), at("PeriodEnd", "period_end"), at("RenewalDay", "renewal_day"),
			at("Forecast", "forecast"), at("Reason", "reason"), at("TransactionReference", "transaction_reference"),
		}}, contactAt("contact"))
	}
	return nil
}

func operationContexts(data proto.Message) []tokenGroup {
	of := func(name string, specs ...spec) []tokenGroup { return bind(data, []groupSpec{{name, specs}}) }
	switch data.(type) {
	case *eventv1.SmsReceived:
		return of("Sms", spec{name: "Sender", subject: true}, at("Recipient", "recipient"), at("Text", "text"))
	case *eventv1.EndpointChanged:
		return of("Endpoint", at("Name", "endpoint"), at("Reason", "reason"), at("LastAnswer", "last_answer"),
			at("FailingSince", "failing_since"), at("Failures", "failures"), at("Waiting", "waiting"), at("Percent", "percent"))
	case *eventv1.DeliveryExhausted:
		return of("Delivery", at("Id", "delivery"), at("Endpoint", "endpoint"), at("Notification", "notification"),
			at("Attempts", "attempts"), at("Reason", "reason"), at("LastAnswer", "last_answer"))
	case *eventv1.HookFailed:
		return of("Hook", at("Name", "hook"), at("EventType", "event_type"), at("Reason", "reason"), at("Count", "count"))
	case *eventv1.NotificationFailing:
		return of("Notification", at("Name", "notification"), at("Version", "version"), at("Reason", "reason"), at("Count", "count"))
	}
	return nil
}

func account(path string, more ...spec) groupSpec {
	return groupSpec{"Account", append(under(path, []spec{
		at("DisplayName", "display_name"), at("Name", "name"), at("Id", "id"), at("Status", "status"), at("Balance", "balance"),
		at("BalanceDue", "balance_due"), currencyAt("balance", "balance_due"), at("BillDay", "bill_day"), at("Language", "language"),
		at("Company", "company_address.company"), at("AddressLines", "company_address.lines"), at("PostalCode", "company_address.postal_code"),
		at("City", "company_address.city"), at("Region", "company_address.region"), at("Country", "company_address.country"),
	}), more...)}
}

func contactAt(path string) groupSpec {
	return groupSpec{"Contact", under(path, []spec{at("Name", "name"), at("Email", "email"), at("Phone", "phone")})}
}

func accountPackage(path string, more ...spec) groupSpec {
	return groupSpec{"AccountPackage", append(under(path, []spec{
		at("Name", "name"), at("Id", "id"), at("Status", "status"), at("Start", "start"), at("End", "end"), at("Renewal", "renewal"),
	}), more...)}
}

func usageBucket(path string, more ...spec) groupSpec {
	return groupSpec{"UsageBucket", append(under(path, []spec{
		at("Id", "id"), at("Name", "name"), at("Unit", "unit"), at("Granted", "granted"), at("Used", "used"), at("Remaining", "remaining"),
		at("Percent", "percent"), at("Period", "period"), at("GrantedAmount", "granted_amount"), at("DeductedAmount", "deducted_amount"),
		at("ActualAmount", "actual_amount"), currencyAt("granted_amount", "deducted_amount", "actual_amount"),
		at("ValidFrom", "valid_from"), at("ValidTo", "valid_to"),
	}), more...)}
}

func billRun(path string) groupSpec {
	return groupSpec{"BillRun", under(path, []spec{
		at("Id", "id"), at("Cycle", "cycle"), at("Started", "started"), at("Ended", "ended"), at("Accounts", "accounts"),
		at("Total", "total"), currencyAt("total"),
	})}
}

func invoice(path string, more ...spec) groupSpec {
	return groupSpec{"Invoice", append(under(path, []spec{
		at("Id", "id"), at("Number", "number"), at("ExternalNumber", "external_number"), at("Source", "source"), at("Type", "type"),
		at("Effective", "effective"), at("Net", "net"), at("Tax", "tax"), at("Total", "total"), at("DueAmount", "due_amount"),
		at("DueKind", "due_kind"), at("DueDate", "due_date"), at("Currency", "currency"), at("PeriodStart", "period_start"),
		at("PeriodEnd", "period_end"), at("PaymentReferences", "payment_references"), at("PaymentMethod", "payment_method"),
	}), more...)}
}

func payment(path string) groupSpec {
	return groupSpec{"Payment", under(path, []spec{
		at("Id", "id"), at("Amount", "amount"), currencyAt("amount"), at("Method", "method"), at("Reference", "reference"),
		at("Documents", "documents"),
	})}
}

func processingError(name, path string) groupSpec {
	return groupSpec{name, under(path, []spec{at("Code", "code"), at("Message", "message")})}
}

// subscriber is of events whose subject is an MSISDN.
func subscriber(more ...spec) groupSpec {
	return groupSpec{"Subscriber", append([]spec{{name: "Msisdn", subject: true}}, more...)}
}
