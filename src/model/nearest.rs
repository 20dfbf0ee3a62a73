//! Finds the name that a person meant to write.

use crate::model::text::Escaped;

/// The maximum length of a text that is compared, in bytes. The time is the product of both lengths, and no name that a
/// person mistypes is longer.
const LONGEST: usize = 64;

/// Returns the word that the user may have meant. Letters are compared without their case.
pub(crate) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    ranked(text, words).map(|(_, word)| word)
}

/// Returns the word that differs from the text by one letter at most, such as a missing plural.
pub(crate) fn almost<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    ranked(text, words).filter(|(distance, _)| *distance <= 1).map(|(_, word)| word)
}

/// Returns the hint `did you mean NAME?`, if a name is near.
pub(crate) fn did_you_mean<'w>(text: &str, names: impl Iterator<Item = &'w str>) -> Option<String> {
    nearest(text, names).map(|name| format!("did you mean {}?", Escaped(name)))
}

fn ranked<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<(usize, &'w str)> {
    if text.len() > LONGEST {
        return None;
    }
    let text = text.to_lowercase();
    words
        .filter(|word| word.len() <= LONGEST)
        .map(|word| (strsim::damerau_levenshtein(&text, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let words = ["identities", "profiles", "Prod", "dev"];
        for (text, expected) in [
            ("identity", Some("identities")),
            ("profile", Some("profiles")),
            ("prod", Some("Prod")),
            ("PRDO", Some("Prod")),
            ("dve", Some("dev")),
            ("staging", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, words.into_iter()), expected, "{text}");
        }
        assert_eq!(almost("profile", words.into_iter()), Some("profiles"));
        assert_eq!(almost("identity", words.into_iter()), None);
        assert_eq!(did_you_mean("a\u{1b}", ["a\n"].into_iter()).as_deref(), Some("did you mean a\\n?"));
        assert_eq!(nearest(&"a".repeat(65), words.into_iter()), None, "long texts are not compared");
    }
}
