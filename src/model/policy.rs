//! Session policies: IAM policies that a request to STS carries, so that its session may do less.
//!
//! A policy is read completely before STS gets it. So a mistake has a line and a column, and a policy that narrows
//! nothing because of a misspelt key is never sent.

mod json;

use std::fmt;
use std::sync::Arc;

use ring::digest;

use crate::model::policy::json::{Json, Member, Node};
use crate::model::text::hex;

/// The maximum number of characters of a session policy and the ARNs of managed policies together (AssumeRole,
/// AssumeRoleWithWebIdentity, GetFederationToken).
pub(crate) const MAX_POLICY_CHARACTERS: usize = 2048;

/// The maximum length of a policy as written, with its white space. It is far above what 2,048 characters need.
const MAX_WRITTEN: usize = 128 * 1024;

/// The versions of the policy language.
const VERSIONS: [&str; 2] = ["2012-10-17", "2008-10-17"];

const POLICY_KEYS: [&str; 3] = ["Version", "Id", "Statement"];

const STATEMENT_KEYS: [&str; 7] = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];

/// An IAM policy for a session: parsed, checked, and without the white space between its parts. Order, numbers and texts
/// are as written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionPolicy(Arc<str>);

/// The reason why a text is no session policy, with its position in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct PolicyError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The error, and the text to write instead.
    pub message: Box<str>,
    /// True if the text is no JSON. Then the file may still be being written.
    pub is_syntax: bool,
}

/// An error at a byte offset.
type Refused = (usize, Box<str>);

impl SessionPolicy {
    /// Parses a policy.
    ///
    /// # Errors
    /// If the text is no JSON, or is no policy that STS accepts for a session.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let error = |(at, message), is_syntax| PolicyError::new(text, at, message, is_syntax);
        if text.len() > MAX_WRITTEN {
            let message = format!(
                "the policy has more than {MAX_WRITTEN} bytes; a session policy has {MAX_POLICY_CHARACTERS} characters at most"
            );
            return Err(error((0, message.into()), false));
        }
        let (root, minified) = json::parse(text).map_err(|refused| error(refused, true))?;
        check_policy(&root).and_then(|()| check_characters(text)).map_err(|refused| error(refused, false))?;
        let policy = Self(minified.into());
        match policy.characters() {
            count if count > MAX_POLICY_CHARACTERS => {
                let message = format!(
                    "the policy has {count} characters without white space, and STS accepts {MAX_POLICY_CHARACTERS}; \
                     shorten it"
                );
                Err(error((0, message.into()), false))
            }
            _ => Ok(policy),
        }
    }

    /// The text that STS gets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number of characters of the text that STS gets.
    pub(crate) fn characters(&self) -> usize {
        self.0.chars().count()
    }

    /// Returns the SHA-256 of the text that STS gets, in hex.
    #[must_use]
    pub fn sha256(&self) -> Box<str> {
        hex(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref()).into()
    }
}

impl fmt::Debug for SessionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionPolicy({})", self.sha256())
    }
}

impl PolicyError {
    fn new(text: &str, at: usize, message: Box<str>, is_syntax: bool) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[start..].chars().count() + 1);
        Self { line, column, message, is_syntax }
    }
}

fn refuse<T>(at: usize, message: impl Into<Box<str>>) -> Result<T, Refused> {
    Err((at, message.into()))
}

/// Checks that STS accepts every character of the texts. White space between them is not sent.
fn check_characters(text: &str) -> Result<(), Refused> {
    match text.char_indices().find(|(_, c)| *c > '\u{ff}') {
        Some((at, c)) => {
            let mut units = [0; 2];
            let escaped: String = c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect();
            refuse(at, format!("STS does not accept this character in a policy; write it as {escaped}"))
        }
        None => Ok(()),
    }
}

fn check_policy(root: &Node) -> Result<(), Refused> {
    let members = object(root, "the policy")?;
    known(members, &POLICY_KEYS, "a policy")?;
    if let Some(version) = find(members, "Version") {
        match &version.json {
            Json::Text(text) if VERSIONS.contains(&&**text) => {}
            _ => {
                return refuse(
                    version.at,
                    "Version is neither \"2012-10-17\" nor \"2008-10-17\"; write \"2012-10-17\"",
                );
            }
        }
    }
    if let Some(id) = find(members, "Id") {
        text(id, "Id")?;
    }
    let Some(statement) = find(members, "Statement") else {
        return refuse(root.at, "the policy has no Statement; add one with Effect, Action and Resource");
    };
    match &statement.json {
        Json::List(statements) if statements.is_empty() => {
            refuse(statement.at, "Statement is empty; add one with Effect, Action and Resource")
        }
        Json::List(statements) => statements.iter().try_for_each(check_statement),
        _ => check_statement(statement),
    }
}

fn check_statement(statement: &Node) -> Result<(), Refused> {
    let members = object(statement, "a statement")?;
    if let Some(member) = members.iter().find(|member| matches!(&*member.name, "Principal" | "NotPrincipal")) {
        return refuse(
            member.at,
            format!(
                "{} belongs to policies of resources; a session policy is about the session itself: remove it",
                member.name
            ),
        );
    }
    known(members, &STATEMENT_KEYS, "a statement")?;
    match find(members, "Effect") {
        None => return refuse(statement.at, "the statement has no Effect; write \"Allow\" or \"Deny\""),
        Some(Node { json: Json::Text(effect), .. }) if matches!(&**effect, "Allow" | "Deny") => {}
        Some(effect) => return refuse(effect.at, "Effect is neither \"Allow\" nor \"Deny\"; write one of them"),
    }
    if let Some(sid) = find(members, "Sid") {
        text(sid, "Sid")?;
    }
    let is_action = |text: &str| {
        text == "*" || text.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
    };
    one_of(statement, members, ["Action", "NotAction"], is_action, "no action; write one such as \"s3:GetObject\"")?;
    let is_resource = |text: &str| text == "*" || text.starts_with("arn:");
    one_of(
        statement,
        members,
        ["Resource", "NotResource"],
        is_resource,
        "no resource; write an ARN such as \"arn:aws:s3:::bucket/*\", or \"*\"",
    )?;
    match find(members, "Condition") {
        Some(condition) => check_condition(condition),
        None => Ok(()),
    }
}

/// Checks that one of two keys is there, as a text or a list of texts, and that each text is as `is_valid` wants.
fn one_of(
    statement: &Node,
    members: &[Member],
    [plain, negated]: [&str; 2],
    is_valid: fn(&str) -> bool,
    invalid: &str,
) -> Result<(), Refused> {
    let (name, node) = match (find(members, plain), find(members, negated)) {
        (Some(_), Some(node)) => {
            return refuse(node.at, format!("the statement has {plain} and {negated}; keep one of the two"));
        }
        (None, None) => {
            return refuse(
                statement.at,
                format!("the statement has neither {plain} nor {negated}; add one of the two"),
            );
        }
        (Some(node), None) => (plain, node),
        (None, Some(node)) => (negated, node),
    };
    let check = |node: &Node| match text(node, name)? {
        text if is_valid(text) => Ok(()),
        _ => refuse(node.at, format!("{name}: this is {invalid}")),
    };
    match &node.json {
        Json::List(texts) if texts.is_empty() => refuse(node.at, format!("{name} is empty; add an entry")),
        Json::List(texts) => texts.iter().try_for_each(check),
        _ => check(node),
    }
}

fn check_condition(condition: &Node) -> Result<(), Refused> {
    for operator in object(condition, "Condition")? {
        for key in object(&operator.node, "the operator of a condition")? {
            let is_value = |node: &Node| matches!(node.json, Json::Text(_) | Json::Number | Json::Boolean);
            let is_valid = match &key.node.json {
                Json::List(values) => values.iter().all(is_value),
                _ => is_value(&key.node),
            };
            if !is_valid {
                return refuse(
                    key.node.at,
                    "the value of a condition is a text, a number, true or false, or a list of them",
                );
            }
        }
    }
    Ok(())
}

fn find<'n>(members: &'n [Member], name: &str) -> Option<&'n Node> {
    members.iter().find(|member| &*member.name == name).map(|member| &member.node)
}

fn object<'n>(node: &'n Node, what: &str) -> Result<&'n [Member], Refused> {
    match &node.json {
        Json::Object(members) => Ok(members),
        _ => refuse(node.at, format!("{what} is no object; write it in braces")),
    }
}

fn text<'n>(node: &'n Node, what: &str) -> Result<&'n str, Refused> {
    match &node.json {
        Json::Text(text) => Ok(text),
        _ => refuse(node.at, format!("{what} is no text; write it in quotes")),
    }
}

fn known(members: &[Member], names: &[&str], what: &str) -> Result<(), Refused> {
    match members.iter().find(|member| !names.contains(&&*member.name)) {
        Some(member) => refuse(member.at, format!("{what} does not have this key; it has {}", names.join(", "))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
