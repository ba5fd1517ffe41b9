//! What a receiver reads: a card for Teams, a message for Slack, JSON for programs. Pure functions of a notification.
//!
//! Titles and texts come from scripts, services and people. In a card and a message they are plain text: nothing in them is
//! markup, and what nobody sees is written out.

use relight_engine::journal::{Notification, Occasion};
use serde_json::{Value, json};

use crate::format::quoted;
use crate::visible::{one_line, visible};

/// The longest header that Slack takes, and the longest text of a section.
const SLACK_HEADER: usize = 150;
const SLACK_SECTION: usize = 3000;

/// A notification, and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) notification: Notification,
    /// Whose service says so: `ann@edge-1`.
    pub(super) from: String,
    /// What follows a command to mean the same place, such as ` --lab`.
    pub(super) place: String,
    /// Whether a person only tries the receiver.
    pub(super) is_test: bool,
}

impl Message {
    /// Makes the message by which a person tries a receiver.
    pub(super) fn test(receiver: &str, from: &str, place: &str, at: jiff::Timestamp, once: &str) -> Self {
        let title = format!("A test of the receiver {receiver}: nothing has happened");
        let mut notification = Notification::new(Occasion::Question, &["test", receiver, once], at, &title);
        notification.text = Some(format!("Sent by hand, by {from}."));
        Message { notification, from: from.to_owned(), place: place.to_owned(), is_test: true }
    }

    /// Returns the id that every repeat carries.
    pub(super) fn id(&self) -> &str {
        &self.notification.id
    }

    /// Returns the command with which a person looks at it, or does something about it.
    fn next(&self) -> Option<String> {
        let Notification { occasion, run, schedule, .. } = &self.notification;
        if self.is_test {
            return None;
        }
        let run = run.as_ref().map(ToString::to_string);
        let schedule = schedule.as_deref().map(quoted);
        let command = match occasion {
            Occasion::Question => format!("relight runs answer {}", run?),
            Occasion::Parked | Occasion::Failed => format!("relight runs show {}", run?),
            Occasion::LateLease => "relight leases".to_owned(),
            Occasion::MissedTick => format!("relight schedule history {}", schedule?),
            Occasion::SchedulePaused => format!("relight schedule show {}", schedule?),
            _ => return None,
        };
        Some(format!("{command}{}", self.place))
    }

    fn title(&self) -> String {
        let lab = if self.place.is_empty() || self.is_test { "" } else { "[lab] " };
        one_line(&format!("{lab}{}", self.notification.title)).into_owned()
    }

    fn text(&self) -> Option<String> {
        let Notification { text, choices, .. } = &self.notification;
        let mut text = visible(text.as_deref()?).into_owned();
        if !choices.is_empty() {
            let choices: Vec<_> = choices.iter().map(|choice| one_line(choice).into_owned()).collect();
            text.push_str(&format!("\nAnswers: {}", choices.join(", ")));
        }
        Some(text)
    }

    /// Returns what it is about, in one line.
    fn facts(&self) -> String {
        let Notification { at, runbook, run, schedule, lease, id, .. } = &self.notification;
        let named = [("runbook", runbook), ("schedule", schedule), ("lease", lease)];
        let mut facts: Vec<String> =
            named.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?))).collect();
        facts.extend(run.as_ref().map(|run| format!("run {run}")));
        facts.extend([format!("{at:.0}"), self.from.clone(), id.clone()]);
        one_line(&facts.join(" · ")).into_owned()
    }

    /// Returns the JSON that programs read: the payload of Standard Webhooks.
    pub(super) fn payload(&self) -> Value {
        let Notification { id, occasion, at, .. } = &self.notification;
        let kind = if self.is_test { "test" } else { occasion.as_str() };
        let mut data = json!(self.notification);
        if let Some(data) = data.as_object_mut() {
            for above in ["id", "occasion", "at"] {
                data.remove(above);
            }
            for (name, clean) in [
                ("title", Some(self.title())),
                ("text", self.notification.text.as_deref().map(|text| visible(text).into_owned())),
            ] {
                data.extend(clean.map(|clean| (name.to_owned(), json!(clean))));
            }
            data.insert("from".to_owned(), json!(self.from));
            data.insert("lab".to_owned(), json!(!self.place.is_empty()));
            data.extend(self.next().map(|next| ("next".to_owned(), json!(next))));
        }
        json!({ "id": id, "type": format!("relight.{}", kind.replace('-', "_")), "timestamp": at, "data": data })
    }

    /// Returns a message for a workflow of Teams that is started by a webhook: an adaptive card. Its runs of text know no markup.
    pub(super) fn teams(&self) -> Value {
        let block = |text: &str, looks: Value| {
            let mut run = json!({ "type": "TextRun", "text": text });
            if let (Some(run), Value::Object(looks)) = (run.as_object_mut(), looks) {
                run.extend(looks);
            }
            json!({ "type": "RichTextBlock", "inlines": [run] })
        };
        let mut body = vec![block(&self.title(), json!({ "weight": "Bolder", "size": "Medium" }))];
        body.extend(self.text().map(|text| block(&text, json!({}))));
        body.extend(self.next().map(|next| block(&next, json!({ "fontType": "Monospace" }))));
        body.push(block(&self.facts(), json!({ "isSubtle": true, "size": "Small" })));
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "fallbackText": self.title(),
            "body": body,
        });
        let attachment = json!({
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        });
        json!({ "type": "message", "attachments": [attachment] })
    }

    /// Returns a message for an incoming webhook of Slack.
    pub(super) fn slack(&self) -> Value {
        let plain = |text: &str, most: usize| json!({ "type": "plain_text", "text": escaped(text, most), "emoji": false });
        let section = |text: &str| json!({ "type": "section", "text": plain(text, SLACK_SECTION) });
        let title = self.title();
        let mut blocks = vec![json!({ "type": "header", "text": plain(&title, SLACK_HEADER) })];
        blocks.extend(self.text().as_deref().map(section));
        blocks.extend(self.next().as_deref().map(section));
        blocks.push(json!({ "type": "context", "elements": [plain(&self.facts(), SLACK_SECTION)] }));
        // Read aloud, and shown where no blocks are.
        json!({ "text": escaped(&title, SLACK_SECTION), "blocks": blocks })
    }
}

/// Returns a text in which Slack finds nothing to obey, so many characters at most.
fn escaped(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut left = most - 1;
    for c in text.chars() {
        let mut own = [0; 4];
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            c => c.encode_utf8(&mut own),
        };
        // Counted as the longer of what anybody may count: letters, or units of UTF-16.
        let Some(rest) = left.checked_sub(piece.encode_utf16().count()) else {
            out.push('…');
            break;
        };
        left = rest;
        out.push_str(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn message(title: &str, text: &str) -> Message {
        let mut notification =
            Notification::new(Occasion::Question, &["r", "7"], Timestamp::UNIX_EPOCH, title);
        notification.text = Some(text.to_owned());
        notification.choices = vec!["yes".to_owned(), "<!here>".to_owned()];
        notification.run = Some("0123456789abcdef".into());
        notification.runbook = Some("recover".to_owned());
        Message { notification, from: "ann@edge-1".to_owned(), place: String::new(), is_test: false }
    }

    /// Every text of a value.
    fn texts(value: &Value) -> Vec<String> {
        match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(all) => all.iter().flat_map(texts).collect(),
            Value::Object(all) => all.values().flat_map(texts).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn slack_finds_no_markup() {
        let told = message("recover asks", "<!channel> & <https://evil.example|click> *x* :tada:").slack();
        for text in texts(&told) {
            assert!(!text.contains('<') && !text.contains('>'), "{text}");
        }
        assert_eq!(told["text"], "recover asks");
        assert_eq!(told["blocks"][0]["text"]["text"], "recover asks");
        let section = told["blocks"][1]["text"].clone();
        assert_eq!(section["type"], "plain_text");
        assert_eq!(
            section["text"],
            "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt; *x* :tada:\nAnswers: yes, &lt;!here&gt;"
        );
        assert_eq!(told["blocks"][2]["text"]["text"], "relight runs answer 0123456789abcdef");
    }

    #[test]
    fn a_card_is_plain_text_and_says_what_to_do() {
        let told = message("recover asks", "**[Go](https://evil.example)?**").teams();
        assert_eq!(told["type"], "message");
        let attachment = &told["attachments"][0];
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        let body = attachment["content"]["body"].as_array().unwrap();
        assert!(
            body.iter().all(|block| block["type"] == "RichTextBlock"),
            "text blocks would read markdown: {body:#?}"
        );
        let runs: Vec<&str> = body.iter().filter_map(|block| block["inlines"][0]["text"].as_str()).collect();
        assert_eq!(runs[0], "recover asks");
        assert_eq!(runs[1], "**[Go](https://evil.example)?**\nAnswers: yes, <!here>");
        assert_eq!(runs[2], "relight runs answer 0123456789abcdef");
        assert!(runs[3].starts_with("runbook recover · run 0123456789abcdef · 1970-01-01"), "{}", runs[3]);
    }

    #[test]
    fn the_payload_names_what_happened_and_nothing_is_unseen() {
        let told = message("recover\u{202e} asks\u{1b}[2J", "one\ntwo\u{7}").payload();
        assert_eq!(told["type"], "relight.question");
        assert_eq!(told["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(told["data"]["title"], "recover\\u202e asks\\u001b[2J");
        assert_eq!(told["data"]["text"], "one\ntwo\\u0007");
        assert_eq!(told["data"]["next"], "relight runs answer 0123456789abcdef");
        assert_eq!(told["data"]["lab"], false);
        for form in [message("a\u{202e}", "b\u{200b}").teams(), message("a\u{202e}", "b\u{200b}").slack()] {
            assert!(texts(&form).iter().all(|text| !text.contains(['\u{202e}', '\u{200b}'])), "{form}");
        }
    }

    #[test]
    fn what_is_long_still_fits() {
        let long = message(&"<".repeat(190), &"&".repeat(2000));
        let slack = long.slack();
        let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
        assert!(length(&slack["blocks"][0]["text"]["text"]) <= SLACK_HEADER);
        assert!(length(&slack["blocks"][1]["text"]["text"]) <= SLACK_SECTION);
        assert!(long.teams().to_string().len() < 20_000 && long.payload().to_string().len() < 20_000);
    }

    #[test]
    fn a_rehearsal_says_so() {
        let mut lab = message("recover asks", "?");
        lab.place = " --lab".to_owned();
        assert_eq!(lab.payload()["data"]["lab"], true);
        assert_eq!(lab.slack()["text"], "[lab] recover asks");
        assert_eq!(lab.payload()["data"]["next"], "relight runs answer 0123456789abcdef --lab");
    }
}
