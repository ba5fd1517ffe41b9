//! The shortest durable program: kill it at any moment, start it again, and it goes on where it was.

use relight_engine::{Cx, Effect, Engine, Operation, Outcome, Redo, Result, RunRequest};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    item: String,
}

struct Ship;
impl Operation for Ship {
    type Args = Order;
    type Output = ();
    const NAME: &'static str = "shop::ship";
    const SUMMARY: &'static str = "Ships an item.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Ask;
    async fn begin(&self, _: &Cx, order: &Order) -> Result<Outcome<()>> {
        println!("{} is shipped", order.item);
        Ok(Outcome::done(()))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::open("orders.db")?.operation(Ship).build()?;
    let order = "/*---\ntitle = \"Order\"\n---*/ shop::ship(\"lamp\"); wait(\"3s\"); shop::ship(\"bulb\")";
    let run = engine.prepare(&RunRequest::new("order").text(order).id("order-1")).await?;
    engine.run(&run).await.map(|driven| println!("{driven:?}"))
}
