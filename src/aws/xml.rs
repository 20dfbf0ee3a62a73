//! Reads the XML of answers: the text of elements, by their path.
//!
//! Namespace prefixes and attributes are ignored. Only character references and the five entities of XML itself are
//! expanded. Values may be secrets: errors do not show them.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use zeroize::Zeroizing;

/// The maximum depth of elements. Answers of STS are five deep.
const DEEPEST: usize = 16;

/// The maximum number of elements. Answers of STS have twenty.
const MOST_ELEMENTS: usize = 1000;

/// The elements of a complete, well-formed document.
pub(crate) struct XmlDocument {
    elements: Vec<XmlElement>,
}

struct XmlElement {
    /// The path of the element: `/Root/Parent/Name`.
    path: Box<str>,
    /// The text of the element, without the text of its children.
    text: Zeroizing<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("the answer is empty")]
    Empty,
    #[error("the answer is not UTF-8 text")]
    NotText,
    #[error("the answer is HTML, not XML")]
    Html,
    #[error("the answer is not well-formed XML")]
    Malformed,
    #[error("the answer ends in the middle of its XML")]
    Truncated,
    #[error("the answer has a DOCTYPE, which could define entities")]
    Doctype,
    #[error("the answer uses an entity that XML does not define")]
    Entity,
    #[error("the answer has more elements, or deeper ones, than STS ever sends")]
    TooMuch,
    #[error("the answer has {0} twice")]
    Twice(&'static str),
}

impl XmlDocument {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(body).map_err(|_| XmlError::NotText)?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(XmlError::Empty);
        }
        let begins = |tag: &str| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
        if begins("<html") || begins("<!doctype html") {
            return Err(XmlError::Html);
        }
        let mut reader = Reader::from_str(text);
        let mut open = XmlReader::default();
        loop {
            match reader.read_event().map_err(|_| XmlError::Malformed)? {
                Event::Start(start) => open.begin(start.local_name().into_inner())?,
                Event::Empty(start) => {
                    open.begin(start.local_name().into_inner())?;
                    open.end();
                }
                Event::End(_) => open.end(),
                Event::Text(text) => open.text(&text)?,
                Event::CData(text) => open.inside()?.push_str(&text),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => open.inside()?.push(character),
                    Ok(None) => open.inside()?.push_str(resolve_xml_entity(&reference).ok_or(XmlError::Entity)?),
                    Err(_) => return Err(XmlError::Malformed),
                },
                Event::DocType(_) => return Err(XmlError::Doctype),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => return open.close(),
            }
        }
    }

    /// Returns the trimmed text of the one element with a path that ends in `path`, such as `/Credentials/AccessKeyId`.
    /// `None` if the element is missing or empty.
    pub(crate) fn text(&self, path: &'static str) -> Result<Option<&str>, XmlError> {
        let mut found = self.elements.iter().filter(|element| element.path.ends_with(path));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(element), None) => Ok(Some(element.text.trim()).filter(|text| !text.is_empty())),
            (Some(_), Some(_)) => Err(XmlError::Twice(path)),
        }
    }
}

/// The parser state: all elements read so far, and which of them are open.
#[derive(Default)]
struct XmlReader {
    elements: Vec<XmlElement>,
    /// The open elements, as indices into `elements`.
    stack: Vec<usize>,
}

impl XmlReader {
    fn begin(&mut self, name: &str) -> Result<(), XmlError> {
        if self.stack.is_empty() && !self.elements.is_empty() {
            return Err(XmlError::Malformed);
        }
        if self.stack.len() == DEEPEST || self.elements.len() == MOST_ELEMENTS {
            return Err(XmlError::TooMuch);
        }
        let parent = self.stack.last().map_or("", |parent| &*self.elements[*parent].path);
        let path = format!("{parent}/{name}").into();
        self.stack.push(self.elements.len());
        self.elements.push(XmlElement { path, text: Zeroizing::default() });
        Ok(())
    }

    fn end(&mut self) {
        self.stack.pop();
    }

    fn inside(&mut self) -> Result<&mut Zeroizing<String>, XmlError> {
        let innermost = self.stack.last().ok_or(XmlError::Malformed)?;
        Ok(&mut self.elements[*innermost].text)
    }

    /// Adds a text to the innermost element. White space outside of the root is ignored.
    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        if self.stack.is_empty() && text.trim().is_empty() {
            return Ok(());
        }
        let inside = self.inside()?;
        if inside.capacity() - inside.len() < text.len() {
            // Grow the string here, and overwrite its old memory: `String` would leave the secret there.
            let mut larger = Zeroizing::new(String::with_capacity(inside.len() + text.len()));
            larger.push_str(inside);
            *inside = larger;
        }
        inside.push_str(text);
        Ok(())
    }

    fn close(self) -> Result<XmlDocument, XmlError> {
        match (self.stack.is_empty(), self.elements.is_empty()) {
            (true, false) => Ok(XmlDocument { elements: self.elements }),
            (true, true) => Err(XmlError::Malformed),
            (false, _) => Err(XmlError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(xml: &str, path: &'static str) -> Result<Option<String>, XmlError> {
        XmlDocument::parse(xml.as_bytes())?.text(path).map(|text| text.map(Into::into))
    }

    #[test]
    fn finds_text_by_end_of_path() {
        let xml = "\u{feff}<?xml version='1.0'?>\n<!-- x --><a xmlns='u' b=c><n:b xmlns:n=\"v\"> x&amp;&#x41;<![CDATA[<&]]> </n:b><c/><d><b>2</b></d>t</a>\n";
        assert_eq!(text(xml, "/a/b"), Ok(Some("x&A<&".into())));
        assert_eq!(text(xml, "/d/b"), Ok(Some("2".into())));
        assert_eq!(text(xml, "/c"), Ok(None));
        assert_eq!(text(xml, "/e"), Ok(None));
        assert_eq!(text(xml, "/a"), Ok(Some("t".into())));
        assert_eq!(text(xml, "/b"), Err(XmlError::Twice("/b")));
    }

    #[test]
    fn says_why_document_is_unreadable() {
        let deep = "<a>".repeat(DEEPEST + 1);
        let wide = format!("<a>{}</a>", "<b/>".repeat(MOST_ELEMENTS));
        let bomb = "<!DOCTYPE a [<!ENTITY b \"hush\"><!ENTITY c \"&b;&b;\">]><a>&c;</a>";
        for (xml, why) in [
            ("", XmlError::Empty),
            (" \n", XmlError::Empty),
            ("<html><body>hush", XmlError::Html),
            ("<!DOCTYPE HTML><p>hush", XmlError::Html),
            ("hush", XmlError::Malformed),
            ("{\"a\":1}", XmlError::Malformed),
            ("<a></b>", XmlError::Malformed),
            ("<a></a></a>", XmlError::Malformed),
            ("<a/><b/>", XmlError::Malformed),
            ("<a/>x", XmlError::Malformed),
            ("<a>&#xD800;</a>", XmlError::Malformed),
            ("<a>&#0;</a>", XmlError::Malformed),
            ("<?xml version='1.0'?>", XmlError::Malformed),
            ("<a><b>x</b>", XmlError::Truncated),
            ("<a>&hush;</a>", XmlError::Entity),
            (bomb, XmlError::Doctype),
            (&deep, XmlError::TooMuch),
            (&wide, XmlError::TooMuch),
        ] {
            let shown: String = xml.chars().take(60).collect();
            assert_eq!(XmlDocument::parse(xml.as_bytes()).err(), Some(why), "{shown}");
            assert!(!why.to_string().contains("hush"));
        }
        assert_eq!(XmlDocument::parse(b"<a>\xff</a>").err(), Some(XmlError::NotText));
        assert!(XmlDocument::parse(b"<a><b>x").is_err() && XmlDocument::parse(b"<a><b").is_err());
    }

    proptest! {
        #[test]
        fn parsing_restores_every_text(written in "[^\u{0}-\u{1f}\u{7f}-\u{9f}\u{fffe}\u{ffff}]{0,40}") {
            let escaped = quick_xml::escape::escape(&*written);
            let expected = Some(written.trim()).filter(|text| !text.is_empty()).map(String::from);
            prop_assert_eq!(text(&format!("<r><t>{escaped}</t></r>"), "/t"), Ok(expected));
        }

        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = XmlDocument::parse(&bytes);
        }

        #[test]
        fn never_panics_on_markup(parts in proptest::collection::vec("<|>|/|&|;|#x|a|!\\[CDATA\\[|\\]\\]>|!--|-->|\\?|!DOCTYPE| ", 0..60)) {
            let _ = XmlDocument::parse(parts.concat().as_bytes());
        }
    }
}
