//! Keys of the file's `tables:` section that choose several tables: `"auth.*"`.

/// A key with at least one `*`, each of which stands for any characters, none included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a>(&'a str);

impl<'a> Pattern<'a> {
    /// The pattern that a key is, unless it is one table's name.
    pub fn of(key: &'a str) -> Option<Self> {
        key.contains('*').then_some(Pattern(key))
    }

    /// Whether a table's name in the file fits.
    pub fn chooses(self, name: &str) -> bool {
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
}
