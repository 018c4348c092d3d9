package access

import "strings"

// Rule is who may call a method. An operator may call every method that is not left to services.
type Rule struct {
	// Scope that a tenant's key needs; 0: no tenant's key may call it.
	Scope Scope
	// Tenants are the fields of a request message that name what it is about, by their paths. With a tenant's key each
	// that is set must be of its tenant, and one must be set.
	Tenants []string
	// Shared begins names that are of no tenant, and that every tenant may read; a request that names nothing is about
	// those. Empty for none.
	Shared string
	// Each: one call has many events, or messages of several kinds; its service asks Caller.Reaches for what they name.
	Each bool
	// Service: a service of this installation may call it.
	Service bool
	// ServiceOnly: an operator may not, since only services know it.
	ServiceOnly bool
}

// Methods is the rule of every method of every service, by full name. A method without one is for operators alone; a
// test demands one of each.
var Methods = func() map[string]Rule {
	all := map[string]Rule{}
	for _, service := range []struct {
		name    string
		methods map[string]Rule
	}{
		{"tollgate.ingest.v1.IngestService", map[string]Rule{
			"Publish": {Scope: Publish, Each: true}, "PublishBatch": {Scope: Publish, Each: true}, "PublishStream": {Scope: Publish, Each: true},
		}},
		{"tollgate.ingest.v1.EventQueueService", map[string]Rule{"Subscribe": {Scope: Subscribe, Each: true}}},
		{"tollgate.options.v1.OptionCatalogService", map[string]Rule{
			"ListOptions": of(OptionsRead, "parent"), "GetDataSafeguard": of(OptionsRead, "name"),
			"GetOverspendSafeguard": of(OptionsRead, "name"), "GetPaymentSafeguard": of(OptionsRead, "name"),
		}},
		{"tollgate.options.v1.OptionInventoryService", map[string]Rule{
			"ListOptions": of(OptionsRead, "parent"), "GetDataSafeguard": of(OptionsRead, "name"),
			"GetOverspendSafeguard": of(OptionsRead, "name"), "GetPaymentSafeguard": of(OptionsRead, "name"), "Watch": of(OptionsRead, "name"),
		}},
		{"tollgate.options.v1.OptionSubscriptionService", map[string]Rule{
			"ChangeDataSafeguard": of(OptionsWrite, "name"), "ChangeOverspendSafeguard": of(OptionsWrite, "name"),
			"ChangePaymentSafeguard": of(OptionsWrite, "name"),
		}},
		{"tollgate.options.v1.EnforcementService", map[string]Rule{
			"Authorize": of(Enforcement, "name"), "AuthorizeStream": of(Enforcement, "request.name"),
			"Charge": of(Enforcement, "name"), "ChargeStream": of(Enforcement, "request.name"),
		}},
		{"tollgate.options.v1.OptionAuditService", map[string]Rule{
			// The others go over a whole partition.
			"Explain": of(OptionsRead, "name"), "Verify": {}, "Reapply": {}, "GetPartitions": {},
		}},
		{"tollgate.trigger.v1.RuleService", map[string]Rule{
			"Preview": of(Rules, "name", "notification.name"), "DryRun": of(Rules, "name", "notification.name"),
			"Explain": of(Rules, "parent", "notification"),
		}},
		{"tollgate.delivery.v1.TestService", map[string]Rule{"SendTest": of(Tests, "name", "endpoint.name", "smtp_profile.name")}},
		{"tollgate.provision.v1.ProvisioningService", map[string]Rule{"Decide": of(Provision, "tenant"), "TestRun": of(Tests, "name")}},
		{"tollgate.config.v1.HistoryService", map[string]Rule{"GetHistory": {}, "AcceptRestore": {}}},
		{"tollgate.config.v1.ConfigWatchService", map[string]Rule{
			"Snapshot": {Service: true}, "Watch": {Service: true}, "WatchSuppressions": {Service: true, ServiceOnly: true},
		}},
		{config + "TenantService", map[string]Rule{
			"GetTenant": {Scope: ConfigRead, Tenants: []string{"name"}, Service: true}, "ListTenants": {Service: true},
			// The operator decides what a tenant may reach and publish to.
			"CreateTenant": {}, "UpdateTenant": {}, "DeleteTenant": {}, "UndeleteTenant": {},
		}},
		resources("EventType", "EventTypes", "event_type", ConfigWrite, map[string]Rule{
			"GetEventType":   {Scope: ConfigRead, Tenants: []string{"name"}, Shared: "eventTypes/"},
			"ListEventTypes": {Scope: ConfigRead, Tenants: []string{"parent"}, Shared: "eventTypes/"},
		}),
		// What a caller may restore, the service asks of the method that would write it.
		{config + "ChangeService", map[string]Rule{
			"ListChanges": of(ConfigRead, "parent", "name"), "RestoreResource": of(ConfigWrite, "name"),
		}},
		resources("ClassOfService", "ClassesOfService", "class_of_service", ConfigWrite, nil),
		resources("Notification", "Notifications", "notification", ConfigWrite, nil),
		resources("Endpoint", "Endpoints", "endpoint", ConfigWrite, map[string]Rule{"ReportHealth": {Service: true, ServiceOnly: true}}),
		resources("SmtpProfile", "SmtpProfiles", "smtp_profile", ConfigWrite, map[string]Rule{"ReportHealth": {Service: true, ServiceOnly: true}}),
		resources("User", "Users", "user", ConfigWrite, nil),
		resources("ApiKey", "ApiKeys", "api_key", APIKeysWrite, nil),
		resources("Hook", "Hooks", "hook", ConfigWrite, map[string]Rule{"Reorder": of(ConfigWrite, "parent"), "TestRun": of(Tests, "name")}),
		// email stores what servers answer of an address.
		resources("Suppression", "Suppressions", "suppression", SuppressionsWrite, map[string]Rule{
			"UpdateSuppression": {Scope: SuppressionsWrite, Tenants: []string{"suppression.name"}, Service: true},
		}),
	} {
		for method, rule := range service.methods {
			all["/"+service.name+"/"+method] = rule
		}
	}
	return all
}()

const config = "tollgate.config.v1."

// of is the rule of a method of one tenant.
func of(scope Scope, tenants ...string) Rule { return Rule{Scope: scope, Tenants: tenants} }

// resources are the rules of a kind of resource: its six methods, and others.
func resources(kind, kinds, field string, write Scope, others map[string]Rule) (service struct {
	name    string
	methods map[string]Rule
}) {
	service.name = config + kind + "Service"
	service.methods = map[string]Rule{
		"Get" + kind: of(ConfigRead, "name"), "List" + kinds: of(ConfigRead, "parent"),
		"Create" + kind: of(write, field+".name"), "Update" + kind: of(write, field+".name"),
		"Delete" + kind: of(write, "name"), "Undelete" + kind: of(write, "name"),
	}
	for method, rule := range others {
		service.methods[method] = rule
	}
	return service
}

// IsTollgate reports that a method, by full name, is one of ours.
func IsTollgate(method string) bool { return strings.HasPrefix(method, "/tollgate.") }
