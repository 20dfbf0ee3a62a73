//! A JSON reader that keeps positions, refuses what two readers could understand differently, and writes the text again
//! without white space.

use crate::model::policy::{Refused, refuse};

/// The maximum depth. A policy with conditions has six levels; the limit bounds the stack.
const MAX_DEPTH: usize = 16;

/// A value with its byte offset.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) json: Json,
}

#[derive(Debug)]
pub(super) enum Json {
    Object(Vec<Member>),
    List(Vec<Node>),
    Text(Box<str>),
    Number,
    Boolean,
    Null,
}

/// A member of an object, with the byte offset of its name.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) at: usize,
    pub(super) name: Box<str>,
    pub(super) node: Node,
}

/// Parses a document and returns it with its text, without white space between the tokens.
pub(super) fn parse(text: &str) -> Result<(Node, String), Refused> {
    let mut reader = Reader { text, at: 0, minified: String::with_capacity(text.len().min(4096)) };
    reader.skip_white_space();
    let root = reader.value(0)?;
    reader.skip_white_space();
    match reader.peek() {
        Some(_) => refuse(reader.at, "there is more text after the end of the policy; remove it"),
        None => Ok((root, reader.minified)),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    minified: String,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes one character of the structure, with the white space around it.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_white_space();
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.at += 1;
            self.minified.push(char::from(wanted));
            self.skip_white_space();
        }
        is_there
    }

    fn expect(&mut self, wanted: u8, what: &str) -> Result<(), Refused> {
        if self.take(wanted) {
            return Ok(());
        }
        let found = if self.peek().is_none() { "the text ends here" } else { "this is no JSON" };
        refuse(self.at, format!("{found}; {what} is expected"))
    }

    fn value(&mut self, depth: usize) -> Result<Node, Refused> {
        let at = self.at;
        if depth > MAX_DEPTH {
            return refuse(at, format!("the text is nested deeper than {MAX_DEPTH} levels, which no policy is"));
        }
        let json = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Json::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Json::Boolean)?,
            Some(b'f') => self.word("false", Json::Boolean)?,
            Some(b'n') => self.word("null", Json::Null)?,
            Some(_) => return refuse(at, "this is no JSON; a value is expected"),
            None => return refuse(at, "the text ends here; a value is expected"),
        };
        Ok(Node { at, json })
    }

    fn object(&mut self, depth: usize) -> Result<Json, Refused> {
        self.expect(b'{', "{")?;
        let mut members: Vec<Member> = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            let at = self.at;
            if self.peek() != Some(b'"') {
                return refuse(at, "a key in double quotes is expected");
            }
            let name = self.string()?;
            self.expect(b':', ":")?;
            let node = self.value(depth + 1)?;
            members.push(Member { at, name, node });
            if !self.take(b',') {
                self.expect(b'}', ", or }")?;
                check_names(&members)?;
                return Ok(Json::Object(members));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, Refused> {
        self.expect(b'[', "[")?;
        let mut nodes = Vec::new();
        if self.take(b']') {
            return Ok(Json::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            if !self.take(b',') {
                self.expect(b']', ", or ]")?;
                return Ok(Json::List(nodes));
            }
        }
    }

    /// Reads a text in quotes. Its escapes are kept in the minified text.
    fn string(&mut self) -> Result<Box<str>, Refused> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start + 1..];
        let mut is_escaped = false;
        let length = rest.iter().position(|byte| {
            let ends = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            ends
        });
        let Some(length) = length else {
            return refuse(start, "this text has no closing quote; add it");
        };
        self.at = start + length + 2;
        let token = &self.text[start..self.at];
        match serde_json::from_str::<Box<str>>(token) {
            Ok(text) => {
                self.minified.push_str(token);
                Ok(text)
            }
            Err(error) => {
                // serde_json counts bytes from 1 within the token. A line break would begin a new count.
                let is_control = |byte: u8| byte < b' ';
                let at = match token.bytes().position(is_control) {
                    Some(control) => start + control,
                    None => (start + error.column().saturating_sub(1)).min(self.at - 1),
                };
                let at = (start..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(start);
                refuse(at, "this text has a wrong escape, or a line break or another control character within it")
            }
        }
    }

    fn number(&mut self) -> Result<Json, Refused> {
        let start = self.at;
        let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let length = self.text.as_bytes()[start..].iter().take_while(|byte| is_part(byte)).count();
        let token = &self.text[start..start + length];
        if !is_number(token.as_bytes()) {
            return refuse(start, "this is no number of JSON");
        }
        self.at += length;
        self.minified.push_str(token);
        Ok(Json::Number)
    }

    fn word(&mut self, word: &str, json: Json) -> Result<Json, Refused> {
        if !self.text[self.at..].starts_with(word) {
            return refuse(self.at, "this is no JSON; a value is expected");
        }
        self.at += word.len();
        self.minified.push_str(word);
        Ok(json)
    }
}

/// Refuses an object that has a key twice: some parsers take the first value, others the last.
fn check_names(members: &[Member]) -> Result<(), Refused> {
    let mut sorted: Vec<(&str, usize)> = members.iter().map(|member| (&*member.name, member.at)).collect();
    sorted.sort_unstable();
    match sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).min() {
        Some(at) => refuse(at, "this key is there twice; remove one of them"),
        None => Ok(()),
    }
}

/// Returns true if the text is a number by the grammar of RFC 8259.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}
