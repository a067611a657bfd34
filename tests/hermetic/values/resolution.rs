//! Resolves catalog facts to types: through domains, arrays and composite types to the bottom.

use wal2graph::value::{FieldFacts, TypeCatalog, TypeFacts, TypeKind};

use super::*;

const MOOD: u32 = 90_001;
const POSITIVE: u32 = 90_002;
const POSITIVE_TWICE: u32 = 90_003;
const MOODS: u32 = 90_004;
pub(super) const ADDRESS: u32 = 90_005;
pub(super) const NESTED: u32 = 90_006;
const ADDRESSES: u32 = 90_007;
const CITEXTS: u32 = 90_009;
const LOOP: u32 = 90_010;

pub(super) fn catalog() -> TypeCatalog {
    let field = |&(name, type_oid): &(&str, u32)| FieldFacts {
        name: name.to_owned(),
        type_oid,
        deterministic: true,
    };
    let composite =
        |fields: &[(&str, u32)]| TypeKind::Composite { fields: fields.iter().map(field).collect() };
    let address = composite(&[
        ("street", 25),
        ("no", 23),
        ("ok", 16),
        ("tags", 1009),
        ("f", 701),
        ("n", 1700),
        ("j", 3802),
        ("sub", POSITIVE),
    ]);
    let kinds = [
        (MOOD, "mood", TypeKind::Enum { labels: Vec::new() }),
        (POSITIVE, "posint", TypeKind::Domain { base: 23, modifier: -1 }),
        (POSITIVE_TWICE, "posint2", TypeKind::Domain { base: POSITIVE, modifier: -1 }),
        (90_008, "_mood", TypeKind::Array { element: MOOD }),
        (MOODS, "moods", TypeKind::Domain { base: 90_008, modifier: -1 }),
        (ADDRESS, "addr", address),
        (ADDRESSES, "_addr", TypeKind::Array { element: ADDRESS }),
        (NESTED, "nest", composite(&[("a", ADDRESS), ("b", ADDRESSES)])),
        (90_011, "citext", TypeKind::Base),
        (CITEXTS, "_citext", TypeKind::Array { element: 90_011 }),
        (LOOP, "loop", TypeKind::Domain { base: LOOP, modifier: -1 }),
        (90_012, "floatrange", TypeKind::Range { subtype: 701, ordinary: true }),
        (90_013, "floatmultirange", TypeKind::Multirange { range: 90_012 }),
        (90_014, "geometry", TypeKind::Base),
        (90_015, "vector", TypeKind::Base),
        (90_016, "complex", TypeKind::Base),
        (90_017, "hstore", TypeKind::Base),
    ];
    TypeCatalog::new(kinds.map(|(oid, name, kind)| TypeFacts {
        oid,
        schema: "public".to_owned(),
        name: name.to_owned(),
        delimiter: ',',
        kind,
    }))
}

#[test]
fn types_are_resolved_to_the_bottom() {
    let catalog = catalog();
    let cases = [
        (16, "Boolean"),
        (17, "ByteArray"),
        (20, "Integer"),
        (26, "Integer"),
        (700, "Float"),
        (1700, "String"),
        (1082, "Date"),
        (1083, "LocalTime"),
        (1266, "Time"),
        (1114, "LocalDateTime"),
        (1184, "ZonedDateTime"),
        (1186, "Duration"),
        (600, "Point"),
        (3802, "String (JSON)"),
        (1007, "List<Integer>"),
        (1001, "String (JSON)"),
        (1020, "List<String>"),
        (3807, "String (JSON)"),
        (6157, "List<String>"),
        (MOOD, "String"),
        (POSITIVE_TWICE, "Integer"),
        (MOODS, "List<String>"),
        (ADDRESSES, "String (JSON)"),
        (CITEXTS, "List<String>"),
        (90_012, "String"),
        (90_013, "String"),
        (90_014, "Point|String"),
        (90_015, "List<Float>"),
        (90_017, "String (JSON)"),
    ];
    for (oid, expected) in cases {
        assert_eq!(catalog.resolve(oid).graph_type(), expected, "type {oid}");
    }
    assert_eq!(catalog.resolve(1042), PADDED);
    let unknown = catalog.resolve(90_011);
    assert!(Comparable::of(&unknown, &unknown, false).is_err(), "nobody asked how it folds");
    let ascii = catalog.clone().with_case_folding(CaseFolding::Ascii);
    assert_eq!(ascii.resolve(CITEXTS), array(CITEXT_IN_C));
    assert_eq!(
        catalog.resolve(1020),
        Type::Array { element: Box::new(catalog.resolve(603)), delimiter: ';' }
    );
    assert_eq!(catalog.resolve(90_016), Type::Unknown { name: "public.complex".to_owned() });
    assert_eq!(catalog.resolve(4_000_000), Type::Unknown { name: "type 4000000".to_owned() });
    assert_eq!(catalog.resolve(LOOP), Type::Unknown { name: "public.loop".to_owned() });
    let auto = catalog.resolve(1231).with_numeric_mode(NumericMode::Auto);
    assert_eq!(auto.graph_type(), "List<Integer|Float|String>");
}
