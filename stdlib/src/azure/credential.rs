//! Who signs in: a program, a machine, a person, or whoever `az` knows.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as AzureSecret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use relight_engine::{Error, ErrorKind, NextStep, Result, Secret};

use super::arc::{ARC, ArcAgent, CliOrArc};
use super::cloud::Cloud;
use super::entra::Person;
use super::transport::SignInTransport;

/// How to sign in.
#[derive(Clone)]
pub enum Credential {
    /// A service principal with a secret.
    ClientSecret {
        /// The directory.
        tenant: String,
        /// The application.
        client_id: String,
        /// The secret.
        secret: Secret,
    },
    /// A Kubernetes service account, or whatever else leaves a federated token in a file.
    WorkloadIdentity {
        /// The directory.
        tenant: String,
        /// The application.
        client_id: String,
        /// Where the federated token is.
        token_file: PathBuf,
    },
    /// The identity of the machine or the container this runs on.
    ManagedIdentity {
        /// Which of several user-assigned identities; the system-assigned one when left out.
        client_id: Option<String>,
    },
    /// The identity of the Arc-enabled machine this runs on.
    ArcMachine(ArcAgent),
    /// Whoever signed in with `az login`, and where nobody did, the Arc-enabled machine this runs on.
    AzureCliOrArc(CliOrArc),
    /// Whoever signed in with `az login`.
    AzureCli {
        /// The directory, when it is not the one that `az` uses by default.
        tenant: Option<String>,
    },
    /// A person who signed in here.
    Person(Person),
    /// A credential of the embedder's own. It finds the [`Claims`](super::Claims) of a challenge, if any, in the request's context.
    Custom(Arc<dyn TokenCredential>),
}

/// What is looked for before anything that a person did, and why it was passed over.
const PASSED_OVER: [&str; 4] = [
    "a service principal (AZURE_CLIENT_SECRET is not set)",
    "a workload identity (AZURE_FEDERATED_TOKEN_FILE is not set)",
    "a managed identity (AZURE_USE_MANAGED_IDENTITY is not set)",
    "a person (nobody is signed in here)",
];

/// A credential, and what was looked for before it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Who signs in.
    pub credential: Credential,
    passed_over: Vec<&'static str>,
}

impl From<Credential> for Chosen {
    fn from(credential: Credential) -> Self {
        Chosen { credential, passed_over: Vec::new() }
    }
}

impl Chosen {
    /// Chooses a credential by the variables that Azure's own tools use. `lookup` gives the value of a variable.
    ///
    /// In this order: `AZURE_CLIENT_SECRET` (with `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`), then
    /// `AZURE_FEDERATED_TOKEN_FILE` (with the same two), then `IDENTITY_ENDPOINT` or `AZURE_USE_MANAGED_IDENTITY`
    /// (with `AZURE_CLIENT_ID` for a user-assigned identity), then `person`, who signed in here, then the Azure CLI.
    ///
    /// The agent of an Arc-enabled machine sets `IDENTITY_ENDPOINT` and `IMDS_ENDPOINT` for everybody on it, which is nobody's
    /// choice: people come first there, and the machine's own identity when nobody signed in.
    /// `AZURE_USE_MANAGED_IDENTITY` means the machine's and nothing else.
    ///
    /// # Errors
    /// `Denied` when a choice is made only half, naming the missing variable.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>, person: Option<Person>) -> Result<Self> {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let need = |because: &str| {
            let [tenant, client_id] =
                ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"].map(|name| get(name).ok_or(name));
            match (tenant, client_id) {
                (Ok(tenant), Ok(client_id)) => Ok((tenant, client_id)),
                (tenant, client_id) => {
                    let missing: Vec<&str> = [tenant.err(), client_id.err()].into_iter().flatten().collect();
                    let is = if missing.len() == 1 { "is" } else { "are" };
                    let missing = missing.join(" and ");
                    Err(Error::new(ErrorKind::Denied, format!("{because} is set and {missing} {is} not"))
                        .hint(format!("set {missing}, or unset {because} to sign in another way")))
                }
            }
        };
        if let Some(secret) = get("AZURE_CLIENT_SECRET") {
            let (tenant, client_id) = need("AZURE_CLIENT_SECRET")?;
            return Ok(Credential::ClientSecret { tenant, client_id, secret: Secret::new(secret) }.into());
        }
        if let Some(file) = get("AZURE_FEDERATED_TOKEN_FILE") {
            let (tenant, client_id) = need("AZURE_FEDERATED_TOKEN_FILE")?;
            return Ok(Credential::WorkloadIdentity { tenant, client_id, token_file: file.into() }.into());
        }
        let wanted =
            get("AZURE_USE_MANAGED_IDENTITY").is_some_and(|v| !matches!(v.as_str(), "0" | "false" | "no"));
        // App Service sets a header beside the address, the Arc agent a second address.
        let is_arc = get("IMDS_ENDPOINT").is_some() && get("IDENTITY_HEADER").is_none();
        let agent = get("IDENTITY_ENDPOINT")
            .filter(|_| is_arc)
            .map(|endpoint| ArcAgent::new(&endpoint, ArcAgent::usual_folder(lookup)))
            .transpose()?;
        let client_id = get("AZURE_CLIENT_ID");
        match agent {
            Some(_) if wanted && client_id.is_some() => Err(Error::new(
                ErrorKind::Denied,
                "AZURE_CLIENT_ID is set, and an Arc-enabled machine has no identity but its own",
            )
            .hint("unset AZURE_CLIENT_ID to use the machine's identity")),
            Some(agent) if wanted => Ok(Credential::ArcMachine(agent).into()),
            None if wanted || get("IDENTITY_ENDPOINT").is_some() => {
                Ok(Credential::ManagedIdentity { client_id }.into())
            }
            _ if client_id.is_some() => {
                Err(Error::new(ErrorKind::Denied, "AZURE_CLIENT_ID is set and AZURE_CLIENT_SECRET is not")
                    .hint("set AZURE_CLIENT_SECRET for a service principal, or AZURE_USE_MANAGED_IDENTITY=1 for a managed identity, or unset AZURE_CLIENT_ID to sign in with `az login`"))
            }
            agent => {
                let is_person = person.is_some();
                let credential = match (person, agent) {
                    (Some(person), _) => Credential::Person(person),
                    (None, Some(agent)) => {
                        Credential::AzureCliOrArc(CliOrArc::new(get("AZURE_TENANT_ID"), agent))
                    }
                    (None, None) => Credential::AzureCli { tenant: get("AZURE_TENANT_ID") },
                };
                Ok(Chosen { credential, passed_over: PASSED_OVER[..if is_person { 3 } else { 4 }].to_vec() })
            }
        }
    }

    /// Adds to an error of the credential what was looked for before it came to it.
    pub(super) fn explained(&self, error: Error) -> Error {
        if self.passed_over.is_empty() {
            return error;
        }
        let last = self.credential.describe();
        error
            .hint(format!("tried, in this order: {}; then {last}, which failed", self.passed_over.join(", ")))
    }
}

impl Credential {
    /// Returns who signs in, in words for a person.
    pub fn describe(&self) -> String {
        match self {
            Credential::ClientSecret { tenant, client_id, .. } => {
                format!("service principal {client_id} of tenant {tenant} (AZURE_CLIENT_SECRET)")
            }
            Credential::WorkloadIdentity { tenant, client_id, .. } => {
                format!("workload identity {client_id} of tenant {tenant} (AZURE_FEDERATED_TOKEN_FILE)")
            }
            Credential::ManagedIdentity { client_id: Some(id) } => format!("managed identity {id}"),
            Credential::ManagedIdentity { client_id: None } => "managed identity of this machine".into(),
            Credential::ArcMachine(_) => ARC.into(),
            Credential::AzureCliOrArc(pair) => pair.describe().into(),
            Credential::AzureCli { .. } => "Azure CLI (`az login`)".into(),
            Credential::Person(person) => {
                let account = person.account();
                format!("{} of tenant {}", account.user, account.tenant)
            }
            Credential::Custom(_) => "the embedding program's credential".into(),
        }
    }

    /// Returns the person, where it is one who signed in here.
    pub fn person(&self) -> Option<&Person> {
        match self {
            Credential::Person(person) => Some(person),
            _ => None,
        }
    }

    /// Returns the variable that chooses this credential rather than the Azure CLI.
    pub(super) fn chosen_by(&self) -> &'static str {
        match self {
            Credential::ClientSecret { .. } => "AZURE_CLIENT_SECRET",
            Credential::WorkloadIdentity { .. } => "AZURE_FEDERATED_TOKEN_FILE",
            Credential::Person(_) => "the sign-in of one's own",
            _ => "AZURE_USE_MANAGED_IDENTITY",
        }
    }

    /// Adds to an error what to do when signing in fails, or when Azure refuses the token.
    pub(super) fn advise(&self, error: Error) -> Error {
        match self {
            Credential::AzureCli { .. } | Credential::AzureCliOrArc(_) | Credential::Person(_) => {
                error.hint(NextStep::SignIn).hint(self.hint())
            }
            _ => error.hint(self.hint()),
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Credential::ClientSecret { .. } => {
                "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; a secret may have ended: `az ad app credential list --id <client id>`"
            }
            Credential::WorkloadIdentity { .. } => {
                "check AZURE_FEDERATED_TOKEN_FILE, and the federated credential of the application"
            }
            Credential::ManagedIdentity { .. } => "check that this machine has a managed identity",
            Credential::ArcMachine(_) => {
                "let this user read the agent's tokens (Linux: `sudo usermod -aG himds $USER` and a new session; Windows: an elevated shell), and see `azcmagent show`"
            }
            Credential::AzureCliOrArc(_) => {
                "or with `az login`, or let this user read the agent's tokens (Linux: `sudo usermod -aG himds $USER` and a new session; Windows: an elevated shell)"
            }
            Credential::AzureCli { .. } => {
                "or with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
            }
            Credential::Person(_) => {
                "a sign-in ends when it is not used for 90 days, or when the directory ends it"
            }
            Credential::Custom(_) => "sign in again",
        }
    }

    /// Returns whether this is one that AD FS knows, which has no endpoints of Entra ID.
    pub(super) fn knows_adfs(&self) -> bool {
        matches!(self, Credential::AzureCli { .. } | Credential::AzureCliOrArc(_) | Credential::Custom(_))
    }

    /// Returns why Entra ID gives this identity no SSH certificate; `None` when it does.
    ///
    /// Confirmed for managed identities (the Azure CLI refuses them with these words) and for what `az` can pass on.
    pub(super) fn has_no_certificate(&self) -> Option<&'static str> {
        match self {
            Credential::ClientSecret { .. } | Credential::WorkloadIdentity { .. } | Credential::Person(_) => {
                None
            }
            Credential::ManagedIdentity { .. } | Credential::ArcMachine(_) => Some(
                "Entra ID gives SSH certificates to people and service principals, not to managed identities",
            ),
            Credential::AzureCli { .. } | Credential::AzureCliOrArc(_) => {
                Some("`az` hands out tokens, and no SSH certificates")
            }
            Credential::Custom(_) => Some("the embedding program hands out tokens, and no SSH certificates"),
        }
    }

    /// Makes a credential without memory: its own cache looks at the machine's clock and may keep a dead token.
    ///
    /// # Errors
    /// What the library finds wrong with it.
    pub(super) fn provider(
        &self,
        cloud: &Cloud,
        http: &reqwest::Client,
    ) -> Result<Arc<dyn TokenCredential>, azure_core::Error> {
        let options = || client_options(cloud, http);
        Ok(match self {
            Credential::ClientSecret { tenant, client_id, secret } => {
                let secret = AzureSecret::new(secret.expose().to_owned());
                let options = ClientSecretCredentialOptions { client_options: options() };
                ClientSecretCredential::new(tenant, client_id.clone(), secret, Some(options))?
            }
            Credential::WorkloadIdentity { tenant, client_id, token_file } => {
                WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
                    credential_options: ClientAssertionCredentialOptions { client_options: options() },
                    client_id: Some(client_id.clone()),
                    tenant_id: Some(tenant.clone()),
                    token_file_path: Some(token_file.clone()),
                }))?
            }
            Credential::ManagedIdentity { client_id } => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options: options(),
                }))?
            }
            Credential::ArcMachine(agent) => Arc::new(agent.clone()),
            Credential::AzureCliOrArc(pair) => pair.with(azure_cli(pair.tenant.as_deref())?),
            Credential::AzureCli { tenant } => azure_cli(tenant.as_deref())?,
            Credential::Custom(credential) => credential.clone(),
            // Its requests are our own.
            Credential::Person(_) => {
                let why = "a person's tokens come by a refresh token";
                return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, why));
            }
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credential").field(&self.describe()).finish()
    }
}

fn azure_cli(tenant: Option<&str>) -> Result<Arc<dyn TokenCredential>, azure_core::Error> {
    let options = AzureCliCredentialOptions { tenant_id: tenant.map(str::to_owned), ..Default::default() };
    Ok(AzureCliCredential::new(Some(options))?)
}

fn client_options(cloud: &Cloud, http: &reqwest::Client) -> ClientOptions {
    let mut custom = CustomConfiguration::default();
    cloud.login.as_str().clone_into(&mut custom.authority_host);
    ClientOptions {
        // Whether to try again is the engine's decision.
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(SignInTransport(http.clone())))),
        cloud: Some(Arc::new(CloudConfiguration::Custom(custom))),
        ..ClientOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn choose(variables: &[(&str, &str)]) -> Result<Credential> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        let lookup = |name: &str| variables.get(name).map(|v| (*v).to_owned());
        Chosen::from_environment(&lookup, None).map(|chosen| chosen.credential)
    }

    #[test]
    fn the_environment_chooses_in_a_fixed_order() {
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        for (more, starts) in [
            (vec![("AZURE_CLIENT_SECRET", "s"), ("IDENTITY_ENDPOINT", "http://x")], "service principal c"),
            (
                vec![("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("IDENTITY_ENDPOINT", "http://x")],
                "workload identity c",
            ),
            (vec![("IDENTITY_ENDPOINT", "http://x")], "managed identity c"),
            (vec![("AZURE_USE_MANAGED_IDENTITY", "1")], "managed identity c"),
            (
                vec![
                    ("IDENTITY_ENDPOINT", "http://x"),
                    ("IDENTITY_HEADER", "h"),
                    ("IMDS_ENDPOINT", "http://x"),
                ],
                "managed identity c",
            ),
        ] {
            let variables: Vec<_> = principal.iter().copied().chain(more).collect();
            let chosen = choose(&variables).unwrap().describe();
            assert!(chosen.starts_with(starts), "{variables:?}: {chosen}");
        }
        let tenant = ("AZURE_TENANT_ID", "t");
        for more in
            [("AZURE_USE_MANAGED_IDENTITY", "0"), ("AZURE_CLIENT_SECRET", " "), ("IMDS_ENDPOINT", "http://x")]
        {
            assert_eq!(choose(&[tenant, more]).unwrap().describe(), "Azure CLI (`az login`)", "{more:?}");
        }
    }

    #[test]
    fn what_the_arc_agent_sets_hides_no_other_sign_in() {
        let arc = [
            ("IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token"),
            ("IMDS_ENDPOINT", "http://localhost:40342"),
        ];
        let with = |more: &[(&str, &str)]| {
            let all: Vec<_> = arc.iter().chain(more).copied().collect();
            choose(&all).map(|credential| credential.describe())
        };
        assert_eq!(with(&[]).unwrap(), "Azure CLI (`az login`), else this Arc-enabled machine");
        assert_eq!(with(&[("AZURE_USE_MANAGED_IDENTITY", "1")]).unwrap(), ARC);
        let principal = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")];
        assert!(with(&principal).unwrap().starts_with("service principal c"));
        let error = with(&[("AZURE_USE_MANAGED_IDENTITY", "1"), ("AZURE_CLIENT_ID", "c")]).unwrap_err();
        assert!(error.message().contains("no identity but its own"), "{error}");
    }

    #[test]
    fn half_a_choice_names_the_other_half() {
        let error =
            choose(&[("AZURE_CLIENT_SECRET", "hunter2"), ("AZURE_CLIENT_ID", "c")]).expect_err("half");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(error.message(), "AZURE_CLIENT_SECRET is set and AZURE_TENANT_ID is not");
        for (set, says) in [
            (&[("AZURE_CLIENT_SECRET", "s")][..], "AZURE_TENANT_ID and AZURE_CLIENT_ID are not"),
            (&[("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")], "AZURE_CLIENT_SECRET is not"),
            (&[("AZURE_CLIENT_ID", "c")], "AZURE_CLIENT_SECRET is not"),
            (&[("AZURE_FEDERATED_TOKEN_FILE", "/f"), ("AZURE_TENANT_ID", "t")], "AZURE_CLIENT_ID is not"),
        ] {
            let error = choose(set).expect_err(says);
            assert!(error.message().ends_with(says), "{error}");
        }
        assert!(!format!("{error:?}").contains("hunter2"));
        let whole =
            choose(&[("AZURE_CLIENT_SECRET", "hunter2"), ("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")]);
        assert!(!format!("{whole:?}").contains("hunter2"));
    }
}
