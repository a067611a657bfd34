//! Names: labels and relationship types from the names of tables and columns.
//!
//! ```text
//! order_items, OrderItems, "Order Items"  --words-->  order items  --label-->  OrderItem
//! customer_id, customerId                 --words-->  customer id  --type--->  CUSTOMER
//! ```

use super::singular::singular;

/// The label of a table's nodes: the singular of its name, in UpperCamelCase. Empty when the name
/// has no letter or digit.
pub fn label(table: &str) -> String {
    singular_words(table).iter().map(|word| capitalised(word)).collect()
}

/// A name in UpperCamelCase, otherwise unchanged.
pub fn upper_camel(name: &str) -> String {
    words(name).iter().map(|word| capitalised(word)).collect()
}

/// A relationship type from a table's singular name, in UPPER_SNAKE.
pub fn type_from_singular(table: &str) -> String {
    upper_snake(&singular_words(table))
}

/// A relationship type from an unchanged name, in UPPER_SNAKE.
pub fn type_from_name(name: &str) -> String {
    upper_snake(&words(name))
}

/// A relationship type from a foreign key's column: UPPER_SNAKE without a final word `id`. `None`
/// if nothing remains.
pub fn type_from_column(column: &str) -> Option<String> {
    let mut words = words(column);
    if words.last()?.eq_ignore_ascii_case("id") {
        words.pop();
    }
    Some(upper_snake(&words)).filter(|name| !name.is_empty())
}

/// A relationship type from all of a constraint's columns, unshortened.
pub fn type_from_columns(columns: &[String]) -> String {
    let words: Vec<String> = columns.iter().flat_map(|column| words(column)).collect();
    upper_snake(&words)
}

/// The name in `known` that is nearest to a misspelt one, if near enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates = known.into_iter().map(|known| (strsim::jaro_winkler(name, known), known));
    let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= NEAR_ENOUGH).then_some(best.1)
}

/// The least Jaro-Winkler similarity at which a name is worth suggesting.
const NEAR_ENOUGH: f64 = 0.7;

fn singular_words(name: &str) -> Vec<String> {
    let mut words = words(name);
    if let Some(last) = words.last_mut() {
        let lower = last.to_lowercase();
        let singular = singular(&lower);
        if singular != lower {
            *last = singular;
        }
    }
    words
}

/// The words of a name. Every character but letters and digits separates words; in camel case an
/// upper-case letter starts one.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    // A name without a lower-case letter is not camel case: ORDER_ITEMS is two words in capitals.
    let camel = name.chars().any(char::is_lowercase);
    for part in name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()) {
        if camel {
            words.extend(camel_words(part));
        } else {
            words.push(part.to_lowercase());
        }
    }
    words
}

fn camel_words(part: &str) -> Vec<String> {
    let letters: Vec<char> = part.chars().collect();
    let mut words = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        let after_small = at > 0 && !letters[at - 1].is_uppercase();
        let before_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let begins = letter.is_uppercase() && at > 0 && (after_small || before_small);
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn upper_snake(words: &[String]) -> String {
    words.iter().map(|word| word.to_uppercase()).collect::<Vec<_>>().join("_")
}
