//! What a script may use up. Each hostile script runs in a process of its own, whose address space is
//! bounded, and must end with an error that names a limit: never with the process.
#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(unix)]

use std::process::Command;

use relight_engine::event::RunEnd;
use relight_engine::{Driven, Engine, Library, Limits, RunRequest};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

thread_local! {
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        allocatedp::read().and_then(|allocated| Ok((allocated, deallocatedp::read()?))).ok();
}

fn held() -> i64 {
    COUNTERS.with(|counters| {
        counters
            .as_ref()
            .map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()).cast_signed())
    })
}

/// The most that a process of these tests may map, and hold.
const ADDRESSES: u64 = 4 << 30;
const PEAK: u64 = 1 << 30;

const SCRIPT: &str = "RELIGHT_TEST_SCRIPT";

/// How a script ended in a process of its own, and the most memory that it held.
fn apart(script: &str) -> (String, u64) {
    let limited = format!("ulimit -v {}; exec \"$0\" --exact child --nocapture", ADDRESSES >> 10);
    let me = std::env::current_exe().unwrap();
    let child = Command::new("sh").arg("-c").arg(limited).arg(me).env(SCRIPT, script).output().unwrap();
    let told = String::from_utf8_lossy(&child.stdout).into_owned();
    let said = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(child.status.success(), "{script}\n{:?}\n{told}{said}", child.status);
    let line =
        |start: &str| told.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned();
    (line("end "), line("peak ").parse::<u64>().unwrap() << 10)
}

/// Not a test of its own: what [`apart`] runs.
#[test]
fn child() {
    let Ok(script) = std::env::var(SCRIPT) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let end = runtime.block_on(async {
        let front = "/*---\ntitle = \"a\"\n---*/\n";
        let library = Library::new().ship("a", &format!("{front}{script}")).ship("other", front).ship(
            "module",
            &format!(
                "{front}export const BIG = \"x\"; fn grow(a, big) {{ loop {{ a.push(big + a.len()); }} }}"
            ),
        );
        let mut limits = Limits::default();
        limits.operations = 400_000_000;
        let engine = Engine::builder().library(library).limits(limits).memory_meter(held).build().unwrap();
        let run = match engine.prepare(&RunRequest::new("a")).await {
            Ok(run) => run,
            Err(error) => return format!("{error:?}"),
        };
        match engine.run(&run).await {
            Ok(Driven::Ended(RunEnd::Succeeded { value })) => format!("value {value}"),
            Ok(Driven::Parked(park, _)) => {
                engine.stop(&run, "ada").await.unwrap();
                let then = engine.run(&run).await;
                let steps = engine.history(&run).await.unwrap().steps;
                format!(
                    "{park:?}, then {then:?}, steps {:?}",
                    steps.iter().map(|s| &s.args).collect::<Vec<_>>()
                )
            }
            other => format!("{other:?}"),
        }
    });
    println!("\nend {}", end.replace('\n', " "));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or(" 0 kB");
    println!("peak {}", peak.trim().trim_end_matches(" kB"));
}

/// A text of 1 MiB, as `big`.
const BIG: &str = r#"let big = "0123456789abcdef"; for n in 0..16 { big += big; } "#;

fn ends_by_a_limit(script: &str, says: &str) {
    let (end, peak) = apart(&format!("{BIG}{script}"));
    println!("{:>4} MiB  {end}", peak >> 20);
    assert!(end.contains(says), "{script}\n{end}");
    assert!(peak < PEAK, "{script}\nheld {} MiB", peak >> 20);
}

macro_rules! hostile {
    ($($name:ident: $script:expr => $says:expr;)*) => {
        $(#[test]
        fn $name() {
            ends_by_a_limit($script, $says);
        })*
    };
}

const HELD: &str = "holds more than 256 MiB";
const NESTED: &str = "nested";

hostile! {
    a_map_of_long_texts: r#"let m = #{}; let n = 0; loop { m[`${n}`] = big + n; n += 1; }"# => HELD;
    a_list_of_long_texts: r#"let a = []; loop { a.push(big + a.len()); }"# => HELD;
    lists_in_lists: "let a = [1]; loop { a = [a, a, a, a]; }" => HELD;
    a_list_added_to_itself: "let a = [1]; loop { a += a; }" => HELD;
    a_text_added_to_itself: "loop { big += big; }" => HELD;
    a_text_replaced_by_itself: r#"let s = "x"; s.pad(1000000, "x"); s.replace("x", s);"# => "a text may have 32 MiB";
    every_gap_replaced: r#"big.replace("", big);"# => "a text may have 32 MiB";
    a_padded_text: r#"let s = "x"; s.pad(9000000000, "xyz");"# => "a text may have 32 MiB";
    a_text_padded_with_nothing_and_then_grown: r#"big.pad(9000000, ""); loop { big += big; }"# => HELD;
    a_padded_list: "let a = []; a.pad(1000000000, 1);" => "a list may have 128 MiB";
    a_list_padded_with_lists: "let a = []; a.pad(1000, 1); let b = []; b.pad(1000000, a);" => "a list may have 128 MiB";
    a_list_of_references_as_text: "let a = []; for n in 0..100000 { a.push(big); } `${a}`" => "8 MiB";
    a_map_of_references_as_text: "let m = #{}; for n in 0..100000 { m[`${n}`] = big; } let s = \"\" + m; s" => "8 MiB";
    a_map_of_references_as_json: "let m = #{}; for n in 0..100000 { m[`${n}`] = big; } m.to_json()" => "8 MiB";
    a_list_of_references_noted: "let a = []; for n in 0..100000 { a.push(big); } note(a)" => "8 MiB";
    a_list_of_references_thrown: "let a = []; for n in 0..100000 { a.push(big); } throw a" => "threw a value";
    a_list_of_references_as_a_failure: "let a = []; for n in 0..100000 { a.push(big); } fail(a)" => "Failed";
    a_list_of_references_as_the_last_value: "let a = []; for n in 0..100000 { a.push(big); } a" => "last value cannot be kept";
    options_of_a_call: "let a = []; for n in 0..100000 { a.push(big); } let name = \"other\"; run(name, #{ params: #{ a: a } })" => "8 MiB";
    long_json_text: r#"let s = "0,"; s.pad(16000000, "0,"); parse_json("[" + s + "0]")"# => "JSON text may have 8 MiB";
    many_numbers_as_json_text: r#"let s = "0,"; s.pad(6000000, "0,"); parse_json("[" + s + "0]")"# => "250000 parts";
    a_text_taken_apart: r#"big += big; big += big; big.split("")"# => "taken apart";
    a_text_as_letters: "big += big; big += big; big.to_chars()" => "taken apart";
    a_closure_that_captures: "let a = []; let grow = || { loop { a.push(big + a.len()); } }; grow.call()" => HELD;
    closures_that_hold: "let all = []; loop { let s = big + all.len(); all.push(|| s); }" => HELD;
    recursion_with_locals: "fn f(n, s) { let t = s + n + s + s + s + s + s + s + s; f(n + 1, t) } f(0, big)" => HELD;
    a_list_held_by_map: "let a = []; a.pad(1000, 1); a.map(|x| { let s = \"0123456789abcdef\"; for n in 0..16 { s += s; } s })" => HELD;
    a_list_that_is_built_in_one_expression:
        "fn b() { let s = []; s.pad(4000000, 1); s } [b(), b(), b(), b(), b(), b(), b(), b(), b(), b()]" => HELD;
    a_function_that_gets_a_list: "fn f(a) { loop { a += a; } } f([1, 2, 3])" => HELD;
    a_method_that_grows: "fn grow(big) { loop { this.push(big + this.len()); } } let a = []; a.grow(big);" => HELD;
    a_module_that_grows: r#"import "module" as m; m::grow([], big)"# => HELD;
    a_deferred_closure: "defer(|| { let a = []; loop { a.push(big + a.len()); } })" => HELD;
    a_long_key: "let a = []; loop { let m = #{}; m[big] = 1; a.push(m); }" => HELD;
    a_value_nested_by_hand: "let s = [1]; loop { s.push([s.pop()]); }" => NESTED;
    a_value_nested_many_levels_at_once: "let l = []; l.pad(300000, 0); let s = [1]; loop { s.push([[[[[[[[[[s.pop()]]]]]]]]]]); }" => NESTED;
    a_value_nested_by_a_method: "fn sink() { loop { this.push([this.pop()]); } } let s = [1]; s.sink();" => "without using a variable";
    closures_nested_in_closures: "let f = |x| x; loop { f = f.curry(f); }" => "";
    deep_values_compared: "let a = []; for n in 0..500 { a = [a]; } let b = a; a == b" => NESTED;
    a_deep_value_as_text: "let a = []; for n in 0..500 { a = [a]; } `${a}`" => "64 deep";
}

#[test]
fn what_a_greedy_script_deferred_runs_when_it_is_stopped() {
    let script =
        r#"note("begun"); defer(|| note("closed")); let all = []; loop { all.push(big + all.len()); }"#;
    let (end, peak) = apart(&format!("{BIG}{script}"));
    assert!(end.contains("Mistake") && end.contains(HELD), "{end}");
    assert!(end.contains("Ended(Stopped") && end.contains("closed"), "{end}");
    assert!(peak < PEAK, "held {} MiB", peak >> 20);
}

#[test]
fn work_that_makes_sense_passes() {
    for (script, value) in [
        (
            r#"let vms = []; for n in 0..5000 { vms.push(#{ name: `vm-${n}`, state: "Running", size: n, tags: ["a", "b"] }); }
               let report = ""; for vm in vms { report += `${vm.name} is ${vm.state}, ${vm.tags}\n`; }
               let odd = vms.filter(|vm| vm.size % 2 == 1).map(|vm| vm.name); odd.sort();
               vms.sort(|a, b| b.size - a.size);
               [report.len() > 100000, odd.len(), vms[0].size]"#,
            "value [true,2500,4999]",
        ),
        (r#"let s = ""; for n in 0..100000 { s += "0123456789"; } s.len()"#, "value 1000000"),
        (
            "let n = 0; for i in 0..3000 { let s = big; s += \"x\"; if i % 10 == 0 { n += s.len(); } } n",
            "value 314573100",
        ),
        (
            r#"let l = "a,b;c d"; [l.split(","), l.split(' ', 2), "a b".split(), l.to_chars().len(), l.split_rev(";")]"#,
            r#"value [["a","b;c d"],["a,b;c","d"],["a","b"],7,["c d","a,b"]]"#,
        ),
        (r#"let s = "a-b"; s.replace("-", "+"); s.pad(5, "xy"); s.replace('a', 'c'); s"#, r#"value "c+bxy""#),
        (
            r##"`${[1, "a", 'c', 1.5, (), true]} ${#{ b: [1], a: "x" }}`"##,
            r##"value "[1, \"a\", 'c', 1.5, (), true] #{\"a\": \"x\", \"b\": [1]}""##,
        ),
        (
            r#"[[1, [2]] == [1, [2]], #{ a: [1] } != #{ a: [2] }, [1] == [1.0], [1] == "x", 2 in [1, 2]]"#,
            "value [true,true,true,false,true]",
        ),
        (r#"parse_json(`{"a": [1, null, 2.5]}`)"#, r#"value {"a":[1,null,2.5]}"#),
        ("#{ a: [1, \"x\"] }.to_json()", r#"value "{\"a\":[1,\"x\"]}""#),
        ("for n in 0..200 { note(big); } 1", "value 1"),
    ] {
        let (end, peak) = apart(&format!("{BIG}{script}"));
        assert_eq!(end, value, "{script}");
        assert!(peak < PEAK, "{script}\nheld {} MiB", peak >> 20);
    }
}
