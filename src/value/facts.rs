//! Resolves a catalog's facts about a type to the type's meaning.
//!
//! ```text
//! pg_type, pg_attribute --> TypeFacts --> TypeCatalog --resolve(oid)--> Type
//! ```
//!
//! Built-in types need no facts: their object ids never change. All others resolve through domains,
//! arrays and composite types to the built-in types or extensions at the bottom.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CaseFolding;
use super::types::{Field, NumericMode, TextKind, Type};

/// The depth limit of resolution. PostgreSQL has no limit of its own; real schemas use two or
/// three.
const MAX_DEPTH: usize = 32;

/// The facts about one type in `pg_type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeFacts {
    /// `oid`.
    pub oid: u32,
    /// The name of its schema.
    pub schema: String,
    /// `typname`.
    pub name: String,
    /// `typdelim`: the delimiter between values of this type in an array.
    pub delimiter: char,
    /// `typtype`, and its details.
    pub kind: TypeKind,
}

/// The kind of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TypeKind {
    /// A base type other than an array.
    Base,
    /// An array: a base type whose `typinput` is `array_in`. `typcategory = 'A'` also holds
    /// `int2vector` and `oidvector`, which have another text form.
    Array {
        /// `typelem`.
        element: u32,
    },
    /// A domain.
    Domain {
        /// `typbasetype`, which may be a domain too.
        base: u32,
        /// `typtypmod`: the base type's modifier, -1 when there is none.
        modifier: i32,
    },
    /// An enum.
    Enum {
        /// Its labels.
        labels: Vec<String>,
    },
    /// A range.
    Range {
        /// `rngsubtype`.
        subtype: u32,
        /// Its bounds compare by the subtype's own order and a deterministic collation.
        ordinary: bool,
    },
    /// A multirange.
    Multirange {
        /// The object id of its ranges' type.
        range: u32,
    },
    /// A composite type, or the row type of a table.
    Composite {
        /// Its attributes in order, without dropped ones.
        fields: Vec<FieldFacts>,
    },
    /// A pseudo-type: no column has one.
    Pseudo,
}

/// The facts about an attribute of a composite type in `pg_attribute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldFacts {
    /// `attname`.
    pub name: String,
    /// `atttypid`.
    pub type_oid: u32,
    /// Equal texts are equal bytes. False only under a nondeterministic collation.
    pub deterministic: bool,
}

/// The known types, by object id.
#[derive(Clone, Debug, Default)]
pub struct TypeCatalog {
    types: HashMap<u32, TypeFacts>,
    case_folding: CaseFolding,
}

impl TypeCatalog {
    /// A catalog of the built-in types and these. Facts about built-in types do no harm.
    pub fn new(facts: impl IntoIterator<Item = TypeFacts>) -> TypeCatalog {
        let types = facts.into_iter().map(|facts| (facts.oid, facts)).collect();
        TypeCatalog { types, case_folding: CaseFolding::default() }
    }

    /// The same for a database whose `lower`, and therefore `citext`, folds case in another way.
    pub fn with_case_folding(self, case_folding: CaseFolding) -> TypeCatalog {
        TypeCatalog { case_folding, ..self }
    }

    /// The type's meaning; [`Type::Unknown`] without facts. `numeric` becomes
    /// [`NumericMode::Exact`]; [`Type::with_numeric_mode`] changes it.
    pub fn resolve(&self, oid: u32) -> Type {
        self.resolve_within(oid, MAX_DEPTH)
    }

    /// The type and the modifier under all domains.
    pub(super) fn base(&self, oid: u32, modifier: i32) -> (u32, i32) {
        let mut found = (oid, modifier);
        for _ in 0..MAX_DEPTH {
            match self.types.get(&found.0) {
                Some(TypeFacts { kind: TypeKind::Domain { base, modifier }, .. }) => {
                    found = (*base, *modifier);
                }
                _ => break,
            }
        }
        found
    }

    /// The type of an array's elements; `None` of other types.
    pub(super) fn element(&self, oid: u32) -> Option<u32> {
        match self.types.get(&oid).map(|facts| &facts.kind) {
            Some(TypeKind::Array { element }) => Some(*element),
            _ => built_in_element(oid),
        }
    }

    /// The labels of an enum; `None` of other types.
    pub(super) fn labels(&self, oid: u32) -> Option<&[String]> {
        match &self.types.get(&oid)?.kind {
            TypeKind::Enum { labels } => Some(labels),
            _ => None,
        }
    }

    fn resolve_within(&self, oid: u32, depth: usize) -> Type {
        if let Some(known) = built_in(oid).or_else(|| built_in_array(oid)) {
            return known;
        }
        let Some(facts) = self.types.get(&oid) else {
            return Type::Unknown { name: format!("type {oid}") };
        };
        let unknown = || Type::Unknown { name: format!("{}.{}", facts.schema, facts.name) };
        let Some(depth) = depth.checked_sub(1) else {
            return unknown();
        };
        match &facts.kind {
            TypeKind::Base => extension(&facts.name, &self.case_folding).unwrap_or_else(unknown),
            TypeKind::Array { element } => Type::Array {
                element: Box::new(self.resolve_within(*element, depth)),
                delimiter: self.types.get(element).map_or(facts.delimiter, |it| it.delimiter),
            },
            TypeKind::Domain { base, .. } => self.resolve_within(*base, depth),
            TypeKind::Enum { .. } => Type::named(&format!("{}.{}", facts.schema, facts.name)),
            TypeKind::Range { ordinary: false, .. } => Type::incomparable(&format!(
                "{}.{}, a range that compares by a collation or an operator class of its own",
                facts.schema, facts.name
            )),
            TypeKind::Range { subtype, .. } => {
                range_of(self.resolve_within(*subtype, depth), false)
            }
            TypeKind::Multirange { range } => match self.resolve_within(*range, depth) {
                Type::Range { element, .. } => Type::Range { element, multi: true },
                other => other,
            },
            TypeKind::Composite { fields } => Type::Composite(self.fields(fields, depth)),
            TypeKind::Pseudo => unknown(),
        }
    }

    fn fields(&self, fields: &[FieldFacts], depth: usize) -> Arc<[Field]> {
        let resolved = fields.iter().map(|field| Field {
            name: field.name.clone(),
            r#type: match self.resolve_within(field.type_oid, depth) {
                resolved if field.deterministic => resolved,
                resolved => loosely_compared(resolved),
            },
        });
        resolved.collect()
    }
}

/// The same type under a nondeterministic collation.
fn loosely_compared(r#type: Type) -> Type {
    match r#type {
        Type::Array { element, delimiter } => {
            Type::Array { element: Box::new(loosely_compared(*element)), delimiter }
        }
        Type::Text(_) => {
            Type::incomparable("composite, and one of its fields has a nondeterministic collation")
        }
        other => other,
    }
}

/// PostgreSQL's built-in types by object id, as fixed in its `pg_type.dat`.
fn built_in(oid: u32) -> Option<Type> {
    Some(match oid {
        16 => Type::Boolean,
        17 => Type::Bytes,
        20 | 21 | 23 => Type::Integer,
        26 => Type::Oid,
        700 => Type::Real,
        701 => Type::Double,
        1700 => Type::Numeric(NumericMode::Exact),
        1042 => Type::Text(TextKind::Padded),
        2950 => Type::Text(TextKind::Uuid),
        1082 => Type::Date,
        1083 => Type::Time,
        1114 => Type::Timestamp,
        1184 => Type::TimestampTz,
        1186 => Type::Interval,
        1266 => Type::TimeTz,
        114 => Type::Json,
        3802 => Type::Jsonb,
        600 => Type::Point,
        // "char", name, text, varchar.
        18 | 19 | 25 | 1043 => Type::TEXT,
        869 => Type::Text(TextKind::Inet),
        650 => Type::Text(TextKind::Cidr),
        3904 | 3926 => range_of(Type::Integer, false),
        3906 => range_of(Type::Numeric(NumericMode::Exact), false),
        3908 => range_of(Type::Timestamp, false),
        3910 => range_of(Type::TimestampTz, false),
        3912 => range_of(Type::Date, false),
        4451 | 4536 => range_of(Type::Integer, true),
        4532 => range_of(Type::Numeric(NumericMode::Exact), true),
        4533 => range_of(Type::Timestamp, true),
        4534 => range_of(Type::TimestampTz, true),
        4535 => range_of(Type::Date, true),
        _ => return text_forms(oid),
    })
}

/// Built-in types whose value is their text, by object id.
fn text_forms(oid: u32) -> Option<Type> {
    let comparable = match oid {
        22 | 30 => "integers",
        27 => "tid",
        28 => "xid",
        29 => "cid",
        5069 => "xid8",
        2970 | 5038 => "snapshot",
        3220 => "pg_lsn",
        1033 => "aclitem",
        1790 => "refcursor",
        774 => "macaddr8",
        829 => "macaddr",
        790 => "money",
        // bit and varbit. PostgreSQL compares them with each other.
        1560 | 1562 => "bit",
        3614 => "tsvector",
        3642 => "gtsvector",
        _ => "",
    };
    let incomparable = match oid {
        142 => "xml, which has no equality",
        // regproc and its family.
        24 | 2202..=2206 | 3734 | 3769 | 4089 | 4096 | 4191 => {
            "the name of an object, which changes when the object is renamed"
        }
        // lseg, path, box, polygon; line, circle.
        601..=604 | 628 | 718 => "geometry, whose equality is not its text's",
        3615 => "tsquery, whose equality is not its text's",
        4072 => "jsonpath, which has no equality",
        _ => "",
    };
    match (comparable, incomparable) {
        ("", "") => None,
        ("", why) => Some(Type::incomparable(why)),
        (name, _) => Some(Type::named(name)),
    }
}

fn range_of(element: Type, multi: bool) -> Type {
    Type::Range { element: Box::new(element), multi }
}

/// Arrays of built-in types: the array's object id, the element's object id.
#[rustfmt::skip]
const BUILT_IN_ARRAYS: [(u32, u32); 76] = [
    (143, 142), (199, 114), (271, 5069), (629, 628), (651, 650), (719, 718), (775, 774),
    (791, 790), (1000, 16), (1001, 17), (1002, 18), (1003, 19), (1005, 21), (1006, 22),
    (1007, 23), (1008, 24), (1009, 25), (1010, 27), (1011, 28), (1012, 29), (1013, 30),
    (1014, 1042), (1015, 1043), (1016, 20), (1017, 600), (1018, 601), (1019, 602), (1020, 603),
    (1021, 700), (1022, 701), (1027, 604), (1028, 26), (1034, 1033), (1040, 829), (1041, 869),
    (1115, 1114), (1182, 1082), (1183, 1083), (1185, 1184), (1187, 1186), (1231, 1700),
    (1270, 1266), (1561, 1560), (1563, 1562), (2201, 1790), (2207, 2202), (2208, 2203),
    (2209, 2204), (2210, 2205), (2211, 2206), (2949, 2970), (2951, 2950), (3221, 3220),
    (3643, 3614), (3644, 3642), (3645, 3615), (3735, 3734), (3770, 3769), (3807, 3802),
    (3905, 3904), (3907, 3906), (3909, 3908), (3911, 3910), (3913, 3912), (3927, 3926),
    (4073, 4072), (4090, 4089), (4097, 4096), (4192, 4191), (5039, 5038), (6150, 4451),
    (6151, 4532), (6152, 4533), (6153, 4534), (6155, 4535), (6157, 4536),
];

/// Only `box` has another delimiter, because its text contains commas.
const BOX_OID: u32 = 603;

fn built_in_element(oid: u32) -> Option<u32> {
    let listed = BUILT_IN_ARRAYS.binary_search_by_key(&oid, |&(array, _)| array).ok();
    Some(BUILT_IN_ARRAYS[listed?].1)
}

fn built_in_array(oid: u32) -> Option<Type> {
    let element = built_in_element(oid)?;
    let delimiter = if element == BOX_OID { ';' } else { ',' };
    Some(Type::Array { element: Box::new(built_in(element)?), delimiter })
}

/// Base types of common extensions. They exist under these names in any schema.
fn extension(name: &str, case_folding: &CaseFolding) -> Option<Type> {
    Some(match name {
        "citext" => Type::Text(TextKind::CaseInsensitive(case_folding.clone())),
        "hstore" => Type::Hstore,
        "geometry" | "geography" => Type::Geometry,
        "vector" | "halfvec" => Type::Vector,
        "sparsevec" | "ltree" => Type::named(name),
        "ean13" | "isbn" | "isbn13" | "ismn" | "ismn13" | "issn" | "issn13" | "upc" => {
            Type::named(name)
        }
        "lquery" | "ltxtquery" | "cube" | "seg" | "semver" | "box2d" | "box3d"
        | "roaringbitmap" => {
            Type::incomparable(&format!("{name}, whose equality is not its text's"))
        }
        _ => return None,
    })
}
