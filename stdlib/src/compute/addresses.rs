//! `compute::addresses`: where a virtual machine in Azure can be reached.

use crate::azure::Origin;
use crate::prelude::*;

const VERSIONS: &[&str] = &["2026-03-01", "2024-03-01", "2022-01-01", "2021-08-01"];

/// Network interfaces.
pub(crate) const INTERFACES: Api<'static> =
    Api { kind: "Microsoft.Network/networkInterfaces", versions: VERSIONS };
const PUBLIC_ADDRESSES: Api<'static> =
    Api { kind: "Microsoft.Network/publicIPAddresses", versions: VERSIONS };

/// Reads every address of a virtual machine in Azure, the public ones first. Confirmed: an address that was not given out is
/// missing, as with a dynamic one of a VM that is deallocated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Whether private addresses come first; no when left out.
    #[serde(default)]
    prefer_private: bool,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// An address of a VM.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct VmAddress {
    /// The address.
    pub(crate) address: String,
    /// Whether everybody can name it: public or private.
    pub(crate) kind: AddressKind,
    /// Resource id of the network interface that has it.
    pub(crate) network_interface: ResourceId,
}

/// Who can name an address.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AddressKind {
    Public,
    Private,
}

/// `compute::addresses`.
pub(crate) struct Addresses(pub(crate) Azure);

impl Operation for Addresses {
    type Args = Args;
    type Output = Vec<VmAddress>;

    const NAME: &'static str = "compute::addresses";
    const SUMMARY: &'static str = "Reads the public and private addresses of a virtual machine in Azure.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See whether a VM has a public address.",
                r#"compute::addresses("inner-01", #{ group: "rg-cloud" }).map(|it| [it.address, it.kind])"#,
            )
            .on("edge")
            .gives(json!([["10.1.0.8", "private"]])),
            Example::new(
                "A dynamic one is given back with the host.",
                r#"
                    let vm = compute::vm("batch-01", #{ group: "rg-cloud" });
                    let before = compute::addresses(vm).len();
                    compute::start(vm);
                    [before, compute::addresses(vm).len()]
                "#,
            )
            .on("edge")
            .gives(json!([1, 2])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Vec<VmAddress>>> {
        let vm = self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?;
        Ok(Outcome::done(self.0.addresses_of(&cx.into(), &vm.network_interfaces, args.prefer_private).await?))
    }
}

impl Azure {
    /// Reads the addresses of network interfaces: the public ones first, or the private ones.
    pub(crate) async fn addresses_of(
        &self,
        origin: &Origin,
        interfaces: &[ResourceId],
        private_first: bool,
    ) -> Result<Vec<VmAddress>> {
        let mut all = Vec::new();
        for id in interfaces {
            let Some(nic) = self.arm.find_as(origin, id.as_str(), INTERFACES).await? else { continue };
            for ip in items(&nic, "/properties/ipConfigurations") {
                let mut offer = |address: Option<&str>, kind| {
                    all.extend(address.map(|address| VmAddress {
                        address: address.to_owned(),
                        kind,
                        network_interface: id.clone(),
                    }));
                };
                offer(text(ip, "/properties/privateIPAddress"), AddressKind::Private);
                let Some(public) = text(ip, "/properties/publicIPAddress/id") else { continue };
                let public = ResourceId::parse(public)?;
                let found = self.arm.find_as(origin, public.as_str(), PUBLIC_ADDRESSES).await?;
                offer(
                    found.as_ref().and_then(|body| text(body, "/properties/ipAddress")),
                    AddressKind::Public,
                );
            }
        }
        let last = if private_first { AddressKind::Public } else { AddressKind::Private };
        all.sort_by_key(|it| it.kind == last);
        Ok(all)
    }
}
