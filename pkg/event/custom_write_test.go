package event_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestRewritten_WhatDidNotChangeStaysAsItCame(t *testing.T) {
	most := 10.0
	var f fault.Violations
	typ := event.Declare("acme_order.placed", &configv1.EventType{Fields: []*configv1.EventField{
		{Name: "pieces", Kind: configv1.FieldKind_FIELD_KIND_INTEGER, Maximum: &most},
		{Name: "buyer", Kind: configv1.FieldKind_FIELD_KIND_OBJECT, Fields: []*configv1.EventField{{Name: "vip", Kind: configv1.FieldKind_FIELD_KIND_BOOLEAN}}},
	}}, &f)
	if typ == nil {
		t.Fatal(f.Err(""))
	}
	data, err := structpb.NewStruct(map[string]any{"pieces": 3, "colour": "red", "buyer": map[string]any{"vip": false, "age": 40}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0).UTC()
	e := &event.Event{ID: "1", Source: "shop", Type: typ.Name, Tenant: "acme", Subject: "acme_order/1", Time: now, ReceivedAt: now, Data: data}
	view, err := typ.View(e)
	if err != nil {
		t.Fatal(err)
	}
	same, err := typ.Rewritten(view, view.Fields())
	if err != nil || !proto.Equal(same.Data, data) {
		t.Errorf("unchanged it is %v, %v", same.Data, err)
	}
	changed := proto.Clone(view.Fields())
	m := changed.ProtoReflect()
	pieces := m.Descriptor().Fields().ByName("pieces")
	m.Set(pieces, protoreflect.ValueOfInt64(9))
	got, err := typ.Rewritten(view, changed)
	want, _ := structpb.NewStruct(map[string]any{"pieces": 9, "colour": "red", "buyer": map[string]any{"vip": false, "age": 40}})
	if err != nil || !proto.Equal(got.Data, want) || !proto.Equal(got.Fields(), changed) || data.GetFields()["pieces"].GetNumberValue() != 3 {
		t.Errorf("changed it is %v, %v; it was %v", got.Data, err, data)
	}
	m.Set(pieces, protoreflect.ValueOfInt64(11))
	if _, err := typ.Rewritten(view, changed); fault.KindOf(err) != fault.Invalid {
		t.Errorf("above its maximum: %v", err)
	}
	m.Clear(pieces)
	if got, err := typ.Rewritten(view, changed); err != nil || got.Data.(*structpb.Struct).GetFields()["pieces"] != nil {
		t.Errorf("cleared it is %v, %v", got, err)
	}
}
