//! Names: labels and relationship types from the names of tables and columns, under the file's rules.
//!
//! ```text
//! order_items, OrderItems, "Order Items"  --words-->  order items  --label-->  OrderItem
//! customer_id, customerId                 --words-->  customer id  --type--->  CUSTOMER
//! ```

use crate::catalog::TableName;

use super::edit::NamingEdit;
use super::singular::{Words, singular};

/// What names are made by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming<'a> {
    /// The file's rules.
    pub rules: &'a NamingEdit,
    /// The words that are known.
    pub words: Words,
}

/// The two tables of a relationship.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between<'a> {
    pub table: &'a TableName,
    pub target: &'a TableName,
}

impl Naming<'_> {
    /// The label of a table's nodes: the singular of its name, in UpperCamelCase. Empty when the name
    /// has no letter or digit.
    pub fn label(self, table: &TableName) -> String {
        self.label_of(self.stripped(&table.name), table)
    }

    /// The same with the prefix that its name loses.
    pub fn label_of_whole(self, table: &TableName) -> String {
        self.label_of(&table.name, table)
    }

    fn label_of(self, name: &str, table: &TableName) -> String {
        let words = self.singular_words(name);
        let name: String = words.iter().map(|word| capitalised(word)).collect();
        filled(&self.rules.labels, name, &[("{schema}", upper_camel(&table.schema))])
    }

    /// The type of a relationship that is called after its target.
    pub fn type_of_target(self, between: Between<'_>) -> String {
        self.filled_type(
            upper_snake(&self.singular_words(self.stripped(&between.target.name))),
            between,
        )
    }

    /// The type of a join table's relationships.
    pub fn type_of_join(self, join: &TableName, between: Between<'_>) -> String {
        self.filled_type(upper_snake(&words(self.stripped(&join.name))), between)
    }

    /// The type of a relationship by one column: without a final word `id`. After its target if nothing remains.
    /// `target_key` is the column that it leads to.
    pub fn type_of_column(self, column: &str, target_key: &str, between: Between<'_>) -> String {
        let mut parts = words(column);
        if parts.last().is_some_and(|last| last.eq_ignore_ascii_case("id")) {
            parts.pop();
        } else if self.words == Words::All
            && let [word] = &parts[..]
            && let Some(apart) = self.told_by_target(word, target_key, between.target)
        {
            parts = apart;
        }
        match upper_snake(&parts) {
            name if name.is_empty() => self.type_of_target(between),
            name => self.filled_type(name, between),
        }
    }

    /// The type of a relationship by all of these columns, unshortened.
    pub fn type_of_columns(self, columns: &[String], between: Between<'_>) -> String {
        let words: Vec<String> = columns.iter().flat_map(|column| words(column)).collect();
        self.filled_type(upper_snake(&words), between)
    }

    /// The words of a name that runs together, as the target tells them apart: `customerid` of the table `customer`, or
    /// `shiptoaddressid` of the key `addressid`.
    fn told_by_target(
        self,
        word: &str,
        target_key: &str,
        target: &TableName,
    ) -> Option<Vec<String>> {
        let joined = |words: Vec<String>| words.concat().to_lowercase();
        let lower = word.to_lowercase();
        let stem = lower.strip_suffix("id").filter(|stem| !stem.is_empty())?;
        let table = joined(words(self.stripped(&target.name)));
        let one = joined(self.singular_words(self.stripped(&target.name)));
        let key = target_key.to_lowercase();
        let key = key.strip_suffix("id").filter(|stem| !stem.is_empty());
        if stem == table || stem == one || key == Some(stem) {
            return Some(vec![stem.to_owned()]);
        }
        let ends = [key, Some(one.as_str()), Some(table.as_str())];
        ends.into_iter().flatten().filter(|end| !end.is_empty()).find_map(|end| {
            let before = stem.strip_suffix(end)?;
            Some(vec![before.to_owned(), end.to_owned()])
        })
    }

    fn filled_type(self, name: String, Between { table, target }: Between<'_>) -> String {
        let one = |table: &TableName| upper_snake(&self.singular_words(self.stripped(&table.name)));
        filled(&self.rules.types, name, &[("{table}", one(table)), ("{target}", one(target))])
    }

    /// A table's name without the longest prefix that fits.
    fn stripped(self, name: &str) -> &str {
        let rests = self.rules.strip_prefix.iter().filter_map(|it| name.strip_prefix(it.as_str()));
        rests.filter(|rest| !rest.is_empty()).min_by_key(|rest| rest.len()).unwrap_or(name)
    }

    /// The words of a name, the last one in the singular.
    pub fn singular_words(self, name: &str) -> Vec<String> {
        let mut words = words(name);
        if let Some(last) = words.last_mut() {
            let lower = last.to_lowercase();
            let singular = singular(&lower, self.words);
            if singular != lower {
                *last = singular;
            }
        }
        words
    }
}

/// A template with its words in the place of the braces. Nothing, if there is no name.
fn filled(template: &str, name: String, others: &[(&str, String)]) -> String {
    if name.is_empty() {
        return name;
    }
    let named = template.replace("{name}", &name);
    others.iter().fold(named, |text, (word, value)| text.replace(word, value))
}

/// A name in UpperCamelCase, otherwise unchanged.
pub fn upper_camel(name: &str) -> String {
    words(name).iter().map(|word| capitalised(word)).collect()
}

/// A name in lowerCamelCase. Empty when it has no letter or digit.
pub fn lower_camel(name: &str) -> String {
    let words = words(name);
    let (first, others) = match words.split_first() {
        Some((first, others)) => (first.to_lowercase(), others),
        None => return String::new(),
    };
    others.iter().fold(first, |name, word| name + &capitalised(&word.to_lowercase()))
}

/// The name in `known` that is nearest to a misspelt one, if near enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates = known.into_iter().map(|known| (similarity(name, known), known));
    let best = candidates.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= NEAR_ENOUGH).then_some(best.1)
}

/// A schema that both have says nothing, and one that a name lacks is no difference.
fn similarity(name: &str, known: &str) -> f64 {
    match (name.rsplit_once('.'), known.rsplit_once('.')) {
        (Some((schema, name)), Some((same, known))) if schema == same => {
            strsim::jaro_winkler(name, known)
        }
        (None, Some((_, known))) => strsim::jaro_winkler(name, known),
        _ => strsim::jaro_winkler(name, known),
    }
}

/// The least Jaro-Winkler similarity at which a name is worth suggesting.
const NEAR_ENOUGH: f64 = 0.7;

/// The words of a name. Every character but letters and digits separates words; in camel case an
/// upper-case letter starts one.
pub(super) fn words(name: &str) -> Vec<String> {
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
