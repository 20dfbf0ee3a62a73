//! Text that fits into a terminal: visible widths, and lines that break between words.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The spaces before the further lines of a paragraph.
const HANGING: &str = "  ";

/// The mark of text that was left out.
const ELLIPSIS: &str = "…";

/// Returns the number of columns of a text without control characters. Terminals disagree about emoji of several
/// characters; the larger number is returned.
pub(crate) fn width(text: &str) -> usize {
    let apart: usize = text.chars().map(|c| c.width().unwrap_or_default()).sum();
    apart.max(text.width())
}

/// Returns the number of columns of a line that may have colours.
pub(crate) fn width_of_painted(line: &str) -> usize {
    let mut parts = line.split("\x1b[");
    let first = parts.next().map_or(0, width);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| width(text))).sum::<usize>()
}

/// Breaks a text between words, so that no line is wider than `columns`. Only a word that is wider than a line is
/// broken. A text without words is one empty line.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let is_first = lines.last().is_none_or(String::is_empty);
        let mut candidate = lines.last().cloned().unwrap_or_default();
        candidate.push_str(if is_first { "" } else { " " });
        candidate.push_str(word);
        if width(&candidate) <= columns {
            lines.pop();
            lines.push(candidate);
            continue;
        }
        if is_first {
            lines.pop();
        }
        let mut rest = word;
        while width(rest) > columns {
            let (head, tail) = rest.split_at(longest_prefix(rest, columns));
            lines.push(head.to_owned());
            rest = tail;
        }
        lines.push(rest.to_owned());
    }
    lines
}

/// Returns the length in bytes of the longest beginning that fits: at least one character.
fn longest_prefix(text: &str, columns: usize) -> usize {
    let ends = text.char_indices().skip(1).map(|(end, _)| end);
    let first = text.chars().next().map_or(0, char::len_utf8);
    ends.take_while(|end| width(&text[..*end]) <= columns).last().unwrap_or(first)
}

/// Returns the first words that fit, with `…` at the end if words are missing. `None` if not even the first word fits.
pub(crate) fn first_words(text: &str, columns: usize) -> Option<String> {
    if width(text) <= columns {
        return Some(text.to_owned());
    }
    let mut kept = String::new();
    for word in text.split_whitespace() {
        let longer = if kept.is_empty() { word.to_owned() } else { format!("{kept} {word}") };
        if width(&longer) + 2 > columns {
            break;
        }
        kept = longer;
    }
    (!kept.is_empty()).then(|| format!("{kept} {ELLIPSIS}"))
}

/// Appends the paragraphs of a text, each after `indent` spaces, and no line wider than `columns`. The further lines of a
/// paragraph stand a little to the right.
pub(crate) fn write_indented(out: &mut String, text: &str, indent: usize, columns: Option<usize>) {
    for paragraph in text.lines() {
        let own = paragraph.len() - paragraph.trim_start_matches(' ').len();
        let indent = " ".repeat(indent + own);
        let paragraph = paragraph.trim_start_matches(' ');
        let lines = match columns.map(|columns| columns.saturating_sub(indent.len())) {
            Some(columns) if width(paragraph) > columns => wrap(paragraph, columns.saturating_sub(HANGING.len())),
            _ => vec![paragraph.to_owned()],
        };
        for (position, line) in lines.iter().enumerate() {
            let hanging = if position == 0 { "" } else { HANGING };
            out.push_str(format!("{indent}{hanging}{line}").trim_end());
            out.push('\n');
        }
    }
}

/// Returns the text, padded with spaces to this width.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn breaks_between_words() {
        for (text, columns, expected) in [
            ("one two three", 7, &["one two", "three"][..]),
            ("one two three", 100, &["one two three"]),
            ("a abcdefgh b", 4, &["a", "abcd", "efgh", "b"]),
            ("日本語 x", 4, &["日本", "語 x"]),
            ("", 4, &[""]),
        ] {
            assert_eq!(wrap(text, columns), expected, "{text}");
        }
    }

    #[test]
    fn keeps_whole_words() {
        for (text, columns, expected) in [
            ("profile dev", 11, Some("profile dev")),
            ("profile dev", 10, Some("profile …")),
            ("profile dev", 8, None),
            ("", 0, Some("")),
        ] {
            assert_eq!(first_words(text, columns).as_deref(), expected, "{text} {columns}");
        }
    }

    #[test]
    fn counts_columns_without_colours() {
        assert_eq!((width("a日é"), width("e\u{301}")), (4, 1));
        assert_eq!(width_of_painted("\x1b[1;31mab\x1b[0m c"), 4);
    }

    #[test]
    fn indents_every_line() {
        let mut out = String::new();
        write_indented(&mut out, "one two\n  three four", 2, Some(9));
        assert_eq!(out, "  one two\n    thr\n      ee\n      fou\n      r\n");
        let mut out = String::new();
        write_indented(&mut out, "one two\n  three four five", 2, Some(14));
        assert_eq!(out, "  one two\n    three\n      four\n      five\n");
        let mut out = String::new();
        write_indented(&mut out, "one two three", 2, None);
        assert_eq!(out, "  one two three\n");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_word_is_lost(text in "\\PC{0,60}", columns in 2_usize..40) {
            let lines = wrap(&text, columns);
            for line in &lines {
                prop_assert!(width(line) <= columns || line.chars().count() == 1, "{line:?}");
            }
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
            let words: Vec<&str> = text.split_whitespace().collect();
            if words.iter().all(|word| width(word) <= columns) {
                prop_assert_eq!(lines.join(" "), words.join(" "));
            }
            if let Some(kept) = first_words(&text, columns) {
                prop_assert!(width(&kept) <= columns);
            }
        }
    }
}
