package pgdb

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// pgx knows uuid.UUID only as a driver.Valuer and sql.Scanner: every value goes through its text form and a search for
// a plan, 9 µs each, which was half of the cost of a batch. The codec below copies the 16 bytes.

// registerUUID teaches m the fast way.
func registerUUID(m *pgtype.Map) {
	one := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	m.RegisterType(one)
	m.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: one}})
	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{wrapUUIDs}, m.TryWrapEncodePlanFuncs...)
}

type uuidCodec struct{ pgtype.UUIDCodec }

func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return encodeUUID{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return scanUUID{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

type encodeUUID struct{}

func (encodeUUID) Encode(value any, buf []byte) ([]byte, error) {
	u := value.(uuid.UUID)
	return append(buf, u[:]...), nil
}

type scanUUID struct{}

func (scanUUID) Scan(src []byte, dst any) error {
	if len(src) != len(uuid.UUID{}) {
		return fmt.Errorf("scan a uuid of %d bytes (NULL is 0)", len(src))
	}
	copy(dst.(*uuid.UUID)[:], src)
	return nil
}

// wrapUUIDs spares slices the way through reflection.
func wrapUUIDs(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
	if v, ok := value.([]uuid.UUID); ok {
		return &encodeUUIDs{}, pgtype.FlatArray[uuid.UUID](v), true
	}
	return nil, nil, false
}

type encodeUUIDs struct{ next pgtype.EncodePlan }

func (p *encodeUUIDs) SetNext(next pgtype.EncodePlan) { p.next = next }

func (p *encodeUUIDs) Encode(value any, buf []byte) ([]byte, error) {
	return p.next.Encode(pgtype.FlatArray[uuid.UUID](value.([]uuid.UUID)), buf)
}
