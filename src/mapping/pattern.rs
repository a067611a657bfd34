//! Names in the file that choose several tables: `"auth.*"`.

use std::{borrow::Cow, collections::BTreeMap};

/// A name in which each `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a>(Cow<'a, str>);

impl<'a> Pattern<'a> {
    /// The pattern that a key is, unless it is one table's name.
    pub fn of(key: &'a str) -> Option<Self> {
        key.contains('*').then_some(Pattern(key.into()))
    }

    /// An item of `include` or `exclude`: without a dot it is a schema.
    pub fn in_list(item: &'a str) -> Self {
        match item.contains('.') {
            true => Pattern(item.into()),
            false => Pattern(format!("{item}.*").into()),
        }
    }

    /// How much it says: of several that fit, the longest one counts.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether a table's name in the file fits.
    pub fn chooses(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// The entry with the table's name; else the one with the longest pattern that fits.
pub fn said_of<'m, T>(said: &'m BTreeMap<String, T>, table: &str) -> Option<&'m T> {
    said.get(table).or_else(|| {
        let patterns = said.iter().filter_map(|(key, it)| Some((Pattern::of(key)?, it)));
        let fitting = patterns.filter(|(pattern, _)| pattern.chooses(table));
        fitting.max_by_key(|(pattern, _)| pattern.length()).map(|(_, it)| it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let chooses = |pattern, name| Pattern::of(pattern).is_some_and(|it| it.chooses(name));
        for (pattern, name) in [
            ("auth.*", "auth.users"),
            ("*.django_*", "public.django_log"),
            ("*", "a.b"),
            ("public.*_old", "public.a_old_old"),
            ("public.a*a", "public.aa"),
            ("*b*b*", "a.bb"),
        ] {
            assert!(chooses(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("auth.*", "author.users"),
            ("auth.*", "public.auth"),
            ("public.*_old", "public.a_old2"),
            ("public.a*a", "public.a"),
            ("*b*b*", "a.b"),
            ("auth.users", "auth.users"),
        ] {
            assert!(!chooses(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn an_item_of_a_list_is_a_table_a_pattern_or_a_schema() {
        for (item, name, fits) in [
            ("auth", "auth.users", true),
            ("auth", "author.users", false),
            ("auth.users", "auth.users", true),
            ("auth.users", "auth.users2", false),
            ("*.*_old", "public.a_old", true),
            ("tenant_*", "tenant_1.users", true),
        ] {
            assert_eq!(Pattern::in_list(item).chooses(name), fits, "{item} {name}");
        }
    }
}
