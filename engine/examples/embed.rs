//! Embeds the engine with one operation of the program's own.

use relight_engine::{Cx, Effect, Engine, Library, Operation, Outcome, Redo, Result, RunRequest};

/// Whom to greet.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Args {
    /// A name.
    name: String,
}

/// `hello::greet(name)`: an operation of the embedding program.
struct Greet;

impl Operation for Greet {
    type Args = Args;
    type Output = String;
    const NAME: &'static str = "hello::greet";
    const SUMMARY: &'static str = "Greets somebody.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, _: &Cx, args: &Args) -> Result<Outcome<String>> {
        Ok(Outcome::done(format!("Hello, {}!", args.name)))
    }
}

const RUNBOOK: &str = r#"/*---
title = "Greet somebody"
[params.name]
---*/
hello::greet(params.name)
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let library = Library::new().ship("greet", RUNBOOK);
    let engine = Engine::builder().operation(Greet).library(library).build()?;
    let run = engine.prepare(&RunRequest::new("greet").param("name", "Ada")).await?;
    println!("{:?}", engine.run(&run).await?);
    assert_eq!(engine.history(&run).await?.steps.len(), 1);
    Ok(())
}
