//! Every operation's examples, run on the lab, values compared.

use std::time::Instant;

use relight_engine::event::RunEnd;
use relight_engine::{Declaration, Driven, Effect, Example, recorded};

use crate::support::world::World;

/// Whatever an example may do: what it shows is not which effects it needs.
pub(crate) fn every_effect() -> Vec<&'static str> {
    Effect::ALL.iter().map(|(_, word)| *word).collect()
}

/// Runs one example in a world of its own. Returns what is wrong with it.
async fn wrong(declaration: &Declaration, example: &Example) -> Option<String> {
    let world = World::on(example.world.unwrap_or("edge"), &[])
        .await
        .secret("env:WEB01_PASSWORD", "canary")
        .secret("env:APP_PASSWORD", relight_lab::GUEST_PASSWORD);
    let about = |what: String| {
        let Example { title, script, .. } = example;
        Some(format!("{}: {title}\n  script:   {script}\n{what}", declaration.name))
    };
    let engine = world.engine();
    let request = world.script(&every_effect(), example.script);
    let run = match engine.prepare(&request).await {
        Ok(run) => run,
        Err(error) => return about(format!("  refused:  {error:?}")),
    };
    let driven = engine.run(&run).await;
    let complaints = world.complaints();
    if !complaints.is_empty() {
        // Told here, with the example's name, rather than when the world is dropped.
        std::mem::forget(world);
        return about(format!("  the lab complains: {}", complaints.join("; ")));
    }
    match (driven, &example.gives) {
        (Ok(Driven::Ended(RunEnd::Succeeded { value })), Some(expected))
            if recorded::plain(&value) != *expected =>
        {
            about(format!("  expected: {expected}\n  got:      {value}"))
        }
        (Ok(Driven::Ended(RunEnd::Succeeded { .. })), _) => None,
        (other, expected) => about(format!("  expected: {expected:?}\n  got:      {other:?}")),
    }
}

#[tokio::test]
async fn every_example_gives_what_it_says() {
    let began = Instant::now();
    let operations = World::new().await.engine().operations();
    let (mut ran, mut compared, mut asking) = (0, 0, Vec::new());
    let mut offenders = Vec::new();
    for declaration in &operations {
        for example in &declaration.examples {
            if crate::registry::NEEDS_MORE.iter().any(|(name, _)| *name == declaration.name) {
                asking.push(declaration.name);
                continue;
            }
            ran += 1;
            compared += usize::from(example.gives.is_some());
            offenders.extend(wrong(declaration, example).await);
        }
    }
    println!(
        "examples: {ran} of {} operations ran, {compared} values compared, {:.1} s; for a person or a library: {asking:?}",
        operations.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(offenders.is_empty(), "{} of {ran} examples:\n{}", offenders.len(), offenders.join("\n"));
    assert!(ran >= operations.len() - crate::registry::NEEDS_MORE.len(), "only {ran} examples ran");
}

/// An example that gives something else is found: the comparison is not for show.
#[tokio::test]
async fn a_wrong_example_is_an_offender() {
    let operations = World::new().await.engine().operations();
    let declaration = operations.iter().find(|it| it.name == "local::vm").expect("local::vm");
    let lies = [
        Example::new("A wrong value.", r#"local::vm("web-01").name"#).on("edge").gives("db-01".into()),
        Example::new("A script that is refused.", "local::nothing()").on("edge"),
        Example::new("A run that fails.", r#"local::vm("nobody")"#).on("edge").gives(true.into()),
    ];
    for lie in &lies {
        let wrong = wrong(declaration, lie).await.unwrap_or_else(|| panic!("{} passed", lie.title));
        assert!(wrong.contains(lie.title) && wrong.contains(lie.script), "{wrong}");
    }
}
