//! Points, PostGIS's hexadecimal EWKB, and pgvector's vectors.

use super::parse::{float, hex_bytes};
use super::{Float, Point, Value};

/// Neo4j's id for its plane without units.
const CARTESIAN: i32 = 7203;
/// WGS-84, longitude before latitude: the same id in PostGIS and in Neo4j.
const WGS_84: i32 = 4326;
/// EWKB's code for a point, with its SRID flag, in the word after the byte order.
const EWKB_POINT_WITH_SRID: u32 = 0x2000_0001;

/// PostgreSQL's `(x,y)`.
pub(super) fn point(text: &str) -> Option<Point> {
    let (x, y) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    finite_point(CARTESIAN, float(x)?, float(y)?)
}

/// Neo4j refuses points with NaN or an infinity.
fn finite_point(srid: i32, x: Float, y: Float) -> Option<Point> {
    (x.0.is_finite() && y.0.is_finite()).then_some(Point { srid, x, y })
}

/// A two-dimensional point on WGS-84, or the text as it is. Never a fallback: the mapping of other
/// geometries is text.
pub(super) fn ewkb(text: &str) -> Option<Value> {
    let point = hex_bytes(Some(text)).and_then(|bytes| wgs_84_point(&bytes));
    Some(point.map_or_else(|| Value::String(text.to_owned()), Value::Point))
}

fn wgs_84_point(bytes: &[u8]) -> Option<Point> {
    let (&order, rest) = bytes.split_first()?;
    let little = match order {
        0 => false,
        1 => true,
        _ => return None,
    };
    let word = |bytes| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    let double = |bytes| if little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) };
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let (srid, rest) = rest.split_first_chunk::<4>()?;
    let (x, rest) = rest.split_first_chunk::<8>()?;
    let y: [u8; 8] = rest.try_into().ok()?;
    if word(*kind) != EWKB_POINT_WITH_SRID || word(*srid) != WGS_84.unsigned_abs() {
        return None;
    }
    // Neo4j refuses latitudes beyond the poles and wraps longitudes, which changes the value.
    let (longitude, latitude) = (double(*x), double(y));
    let on_earth = longitude.abs() <= 180.0 && latitude.abs() <= 90.0;
    on_earth.then_some(Point { srid: WGS_84, x: Float(longitude), y: Float(latitude) })
}

/// pgvector's `[1,2.5]`.
pub(super) fn vector(text: &str) -> Option<Vec<Value>> {
    let body = text.strip_prefix('[')?.strip_suffix(']')?;
    if body.is_empty() {
        return Some(Vec::new());
    }
    body.split(',').map(|number| float(number).map(Value::Float)).collect()
}
