//! `net::first_reachable`: finds out which of several addresses of a host answers from here.

use super::{ATTEMPT, Dialer, Waiting, wait_on};
use crate::prelude::*;

/// How many addresses are tried at most.
const MOST: usize = 32;

/// Tries all addresses at once and gives the first one of the list that answers, from the machine that drives the run.
/// Tries again until `wait` is over.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Addresses or names of one host, best first.
    addresses: Vec<String>,
    /// Port.
    port: u16,
    /// How long to go on trying; once when left out.
    #[serde(default)]
    wait: Option<Span>,
}

/// `net::first_reachable`.
pub(crate) struct FirstReachable(pub(crate) Dialer);

impl Operation for FirstReachable {
    type Args = Args;
    type Output = String;

    const NAME: &'static str = "net::first_reachable";
    const SUMMARY: &'static str = "Finds the first of several addresses that answers on a port.";
    const EFFECTS: &'static [Effect] = &[Effect::NetProbe];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::TIMED_OUT];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Find the address of a host on which its console answers.",
                r#"let console = vmconnect::enable("web-01");
                   net::first_reachable(console.addresses, console.port, #{ wait: "2m" }) == console.addresses[1]"#,
            )
            .on("edge")
            .gives(json!(true)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<String>> {
        if args.addresses.is_empty() || args.addresses.len() > MOST {
            return Err(Error::invalid(format!(
                "give between 1 and {MOST} addresses, not {}",
                args.addresses.len()
            )));
        }
        self.look(cx, args, cx.after(args.wait.map_or(Duration::ZERO, Span::get))).await
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<String>> {
        let Waiting { until } = restored(Self::NAME, at)?;
        self.look(cx, args, until).await
    }
}

impl FirstReachable {
    async fn look(&self, cx: &Cx, args: &Args, until: Timestamp) -> Result<Outcome<String>> {
        let tries = args.addresses.iter().map(|address| self.0.dial(address, args.port, ATTEMPT));
        let answers = futures::future::join_all(tries).await;
        if let Some(at) = answers.iter().position(Result::is_ok) {
            return Ok(Outcome::done(args.addresses[at].clone()));
        }
        let tried: Vec<String> = args
            .addresses
            .iter()
            .zip(answers)
            .map(|(address, answer)| {
                format!("{address} ({})", answer.err().map_or_else(String::new, |e| e.to_string()))
            })
            .collect();
        let said = format!("port {} answers on none of {} addresses yet", args.port, args.addresses.len());
        wait_on(cx, until, &said, || {
            Error::rejected(format!("port {} answers on no address: {}", args.port, tried.join(", ")))
                .code(ErrorCode::TIMED_OUT)
                .hint("connect to the VPN or the network of the host, or run this from a machine that is there")
                .hint("when another address of the host can be reached, put it into the file: rdp::set_address(path, address)")
        })
    }
}
