//! A site as large as they come: what is listed comes back whole.

use std::time::{Duration, Instant};

use relight_engine::Driven;
use serde_json::json;

use crate::support::world::{World, minutes};

/// On a disk, as in a service: what is listed is recorded, and another process reads it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_of_5000_vms_lists() {
    let world = World::on("site-of-5000", &[]).await.on_disk();
    let script = r#"
        let all = local::vms();
        wait("2h");
        [all.len(), all[4999].name, all.filter(|vm| vm.power_state == "Running").len()]
    "#;
    let began = Instant::now();
    let first = world.engine();
    let run = first.prepare(&world.script(&["azure:read"], script)).await.expect("a run");
    let driven = first.drive(&run, Duration::from_secs(300)).await.expect("a run that waits");
    assert!(matches!(driven, Driven::Parked(..)), "{driven:?}");
    drop(first);
    println!("large: 5000 VMs were listed within {:.1} s", began.elapsed().as_secs_f64());
    world.clock.advance(minutes(120));
    assert_eq!(*world.resume(&run).await.value(), json!([5000, "vm-5000", 5000]));
}
