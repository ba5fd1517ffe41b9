//! The console port: there only while open, and particular about who comes in.

use std::time::Duration;

use relight_lab::{ConsoleVisit, NextBytes, Pdu};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Site, job_path, remove};

const HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x00, 0x05];
const X224: &[u8] = &[0x03, 0x00, 0x00, 0x13, 0x0e, 0xe0];

/// Returns both addresses of a node.
async fn addresses(site: &Site, node: &str) -> [String; 2] {
    let path = format!(
        "{{s}}/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/{node}/providers/\
         Microsoft.AzureStackHCI/edgeDevices/default?api-version=2025-10-01"
    );
    let cards =
        site.get(&path).await.body["properties"]["reportedProperties"]["networkProfile"]["nicDetails"]
            .clone();
    [0, 1].map(|card| cards[card]["ip4Address"].as_str().expect("an address").to_owned())
}

async fn answers(ip: &str) -> bool {
    TcpStream::connect((ip, 2179)).await.is_ok()
}

/// Connects, says something, and returns what the lab wrote down.
async fn visit(site: &Site, ip: &str, parts: &[&[u8]]) -> ConsoleVisit {
    let before = site.lab.consoles().len();
    let mut stream = TcpStream::connect((ip, 2179)).await.expect("an open port");
    for part in parts {
        stream.write_all(part).await.expect("a listener");
        // Two writes in one segment would hide whether the lab reads the second on its own.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    stream.shutdown().await.expect("a listener");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    for _ in 0..100 {
        if let Some(visit) = site.lab.consoles().get(before) {
            return visit.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the visit was not written down");
}

fn pdu(blob: &str) -> Vec<u8> {
    Pdu { id: 0, blob: blob.to_owned() }.to_bytes()
}

#[tokio::test]
async fn the_port_exists_only_while_it_is_open() {
    let site = Site::new().await;
    let [first, second] = addresses(&site, "hq-node1").await;
    assert!(!answers(&first).await && !answers(&second).await);
    site.provision("open", "lin-02", "hq-node1").await;
    assert!(answers(&first).await && answers(&second).await);
    let closing = site.send(Method::PUT, &job_path("close"), Some(remove("lin-02", "hq-node1"))).await;
    site.follow(&closing).await;
    assert!(!answers(&first).await && !answers(&second).await);
}

#[tokio::test]
async fn time_alone_closes_the_port() {
    let site = Site::new().await;
    let [first, _] = addresses(&site, "hq-node1").await;
    site.provision("open", "lin-02", "hq-node1").await;
    site.clock.step(8 * 3600);
    for _ in 0..100 {
        if !answers(&first).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the port is still open");
}

#[tokio::test]
async fn the_address_that_web_01_names_does_not_answer_but_the_other_does() {
    let site = Site::new().await;
    site.provision("open", "web-01", "hq-node2").await;
    let [first, second] = addresses(&site, "hq-node2").await;
    assert_eq!(site.vm("web-01").await["hostNodeIpAddress"], first.as_str());
    assert!(!answers(&first).await);
    assert!(answers(&second).await);
}

#[tokio::test]
async fn faults_take_addresses_away() {
    let site = Site::with(&["wrong-address"]).await;
    site.provision("open", "lin-02", "hq-node1").await;
    let [first, second] = addresses(&site, "hq-node1").await;
    assert!(!answers(&first).await && answers(&second).await);
    site.lab.clear_faults();
    site.lab.inject("host-unreachable".parse().expect("a fault"));
    site.get(&job_path("open")).await;
    assert!(!answers(&first).await && !answers(&second).await);
}

#[tokio::test]
async fn a_good_visitor_is_recognised() {
    let site = Site::new().await;
    site.provision("open", "lin-02", "hq-node1").await;
    let [first, second] = addresses(&site, "hq-node1").await;
    let vm = site.vm("lin-02").await;
    let guid = vm["hyperVVmId"].as_str().expect("an id");
    let plain = visit(&site, &first, &[&pdu(guid), HELLO]).await;
    assert_eq!(
        (plain.valid, plain.next, plain.blob.as_deref()),
        (true, NextBytes::TlsClientHello, Some(guid))
    );
    assert!(plain.vm.is_some_and(|id| id.ends_with("/machines/lin-02")));
    assert_eq!(plain.address.ip().to_string(), first);
    let basic = visit(&site, &second, &[&pdu(&format!("{guid};EnhancedMode=0")), X224]).await;
    assert_eq!((basic.valid, basic.next), (true, NextBytes::X224));
}

#[tokio::test]
async fn bad_visitors_are_told_apart() {
    let site = Site::new().await;
    site.provision("open", "lin-02", "hq-node1").await;
    let [first, _] = addresses(&site, "hq-node1").await;
    let guid = |vm: &'static str| {
        let site = &site;
        async move { site.vm(vm).await["hyperVVmId"].as_str().expect("an id").to_owned() }
    };
    let problem = |visit: ConsoleVisit| {
        assert!(!visit.valid);
        visit.problem.expect("a reason")
    };
    let unknown = visit(&site, &first, &[&pdu("00000000-0000-0000-0000-000000000000"), HELLO]).await;
    assert!(problem(unknown).contains("no VM has"));
    let enhanced = format!("{};EnhancedMode=1", guid("lin-02").await);
    assert!(problem(visit(&site, &first, &[&pdu(&enhanced), HELLO]).await).contains("has booted"));
    let closed = visit(&site, &first, &[&pdu(&guid("web-01").await), HELLO]).await;
    assert!(problem(closed).contains("hq-node2 is closed"));
    let bare = visit(&site, &first, &[&[X224, &[0; 40]].concat()]).await;
    assert_eq!(bare.next, NextBytes::X224);
    assert!(problem(bare).contains("does not start with"));
    let probe = visit(&site, &first, &[]).await;
    assert_eq!((probe.next, &probe.blob), (NextBytes::Nothing, &None));
    let cut = visit(&site, &first, &[&pdu(&guid("lin-02").await)[..30]]).await;
    assert!(problem(cut).contains("ends after 30 bytes"));
}
