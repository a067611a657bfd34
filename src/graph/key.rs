//! What a node or a relationship is found by.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use crate::value::{Float, Value};

/// The key of a node or of a keyed relationship: one value for each key property. It is never NULL,
/// and already normalised: equal keys are equal values.
///
/// Keys are equal if a graph finds the one by the other: numbers compare by what they are, whatever
/// their type. The table's keys of one column have one type. In the graph others may have left `7.0`
/// where `7` was written, and that node is the row's. [`Key::is_written_as`] tells the two apart.
#[derive(Clone, Debug)]
pub struct Key(pub Box<[Value]>);

impl Key {
    /// Whether the other one has the same values, of the same types.
    pub fn is_written_as(&self, other: &Key) -> bool {
        self.0 == other.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        ordered(&self.0, &other.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| hash(value, state));
    }
}

fn ordered(left: &[Value], right: &[Value]) -> Ordering {
    let mut each = left.iter().zip(right).map(|(left, right)| order(left, right));
    each.find(|it| it.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
}

fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Integer(left), Value::Float(Float(right))) => number(*left, *right),
        (Value::Float(Float(left)), Value::Integer(right)) => number(*right, *left).reverse(),
        (Value::List(left), Value::List(right)) => ordered(left, right),
        (left, right) => left.cmp(right),
    }
}

/// The exact order of an integer and a float, which NaN stands outside of as in [`f64::total_cmp`]. An index does not
/// find -0.0 by 0.
fn number(integer: i64, float: f64) -> Ordering {
    if float.is_nan() || (integer, float) == (0, 0.0) {
        return 0.0_f64.total_cmp(&float);
    }
    // Each integer lies between these: what is outside of them is not one.
    let whole = float.floor();
    if whole < i64::MIN as f64 {
        return Ordering::Greater;
    }
    if whole >= -(i64::MIN as f64) {
        return Ordering::Less;
    }
    let fraction = if float > whole { Ordering::Less } else { Ordering::Equal };
    integer.cmp(&(whole as i64)).then(fraction)
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Integer(it) => number_hash(*it, state),
        Value::Float(Float(it)) => {
            let whole = *it as i64;
            match number(whole, *it).is_eq() {
                true => number_hash(whole, state),
                false => it.to_bits().hash(state),
            }
        }
        Value::List(items) => items.iter().for_each(|item| hash(item, state)),
        value => value.hash(state),
    }
}

fn number_hash<H: Hasher>(it: i64, state: &mut H) {
    it.hash(state);
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, iter::once};

    use super::*;

    fn key(value: Value) -> Key {
        Key(Box::new([value]))
    }

    #[test]
    fn numbers_are_equal_and_in_order_whatever_their_types() {
        let float = |it: f64| key(Value::Float(Float(it)));
        let integer = |it: i64| key(Value::Integer(it));
        assert!(integer(7) == float(7.0) && !integer(7).is_written_as(&float(7.0)));
        assert!(integer(0) == float(0.0) && float(0.0) != float(-0.0));
        let list = |value| key(Value::List(vec![value]));
        assert!(list(Value::Integer(7)) == list(Value::Float(Float(7.0))));
        // 2^53 + 1 is no float, and 2^63 no integer.
        let rising = [
            float(f64::NEG_INFINITY),
            integer(i64::MIN),
            integer(-8),
            float(-7.5),
            integer(-7),
            float(-0.0),
            integer(0),
            float(7.0),
            float(7.5),
            integer(8),
            float(9_007_199_254_740_992.0),
            integer(9_007_199_254_740_993),
            integer(i64::MAX),
            float(9_223_372_036_854_775_808.0),
            float(f64::NAN),
        ];
        for (at, left) in rising.iter().enumerate() {
            for (other, right) in rising.iter().enumerate() {
                assert_eq!(left.cmp(right), at.cmp(&other), "{left:?} {right:?}");
            }
        }
        let known: HashSet<Key> = rising.into_iter().chain(once(float(-8.0))).collect();
        assert_eq!(known.len(), 15);
        assert!(known.contains(&integer(7)) && known.contains(&float(9_007_199_254_740_992.0)));
    }
}
