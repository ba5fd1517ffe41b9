"""Does with the typed SDKs what Relight does over Arc. Reads a lab's descriptor, prints what it saw as JSON."""

import json
import sys

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.hybridcompute import HybridComputeManagementClient
from azure.mgmt.hybridcompute import models as compute
from azure.mgmt.hybridconnectivity import HybridConnectivityMgmtClient
from azure.mgmt.hybridconnectivity import models as connectivity

lab = json.load(open(sys.argv[1]))
group, name = sys.argv[2], sys.argv[3]
credential = ClientSecretCredential(
    lab["tenant"],
    lab["client_id"],
    lab["client_secret"],
    authority=lab["url"],
    disable_instance_discovery=True,
)
options = dict(
    base_url=lab["url"],
    credential_scopes=[lab["url"] + "/.default"],
    polling_interval=1,
)
computers = HybridComputeManagementClient(credential, lab["subscription"], **options)
roads = HybridConnectivityMgmtClient(credential, lab["subscription"], **options)
seen = {}

machine = computers.machines.get(group, name)
seen["status"] = machine.status

# SSH is let in: credentials first, which say that nobody is let in yet.
try:
    roads.endpoints.list_credentials(machine.id, "default", connectivity.ListCredentialsRequest(service_name="SSH"))
except HttpResponseError as error:
    seen["before"] = error.status_code
endpoint = connectivity.EndpointResource(properties=connectivity.EndpointProperties(type="default"))
seen["endpoint"] = roads.endpoints.create_or_update(machine.id, "default", endpoint).properties.provisioning_state
service = connectivity.ServiceConfigurationResource(
    properties=connectivity.ServiceConfigurationProperties(service_name="SSH", port=22)
)
made = roads.service_configurations.create_orupdate(machine.id, "default", "SSH", service)
seen["port"] = made.properties.port
given = roads.endpoints.list_credentials(
    machine.id, "default", connectivity.ListCredentialsRequest(service_name="SSH"), expiresin=600
)
seen["relay"] = given.relay.namespace_name_suffix
seen["services"] = [it.name for it in roads.service_configurations.list_by_endpoint_resource(machine.id, "default")]

# A run command, its end, and its removal.
command = compute.MachineRunCommand(
    location=machine.location,
    properties=compute.MachineRunCommandProperties(
        source=compute.MachineRunCommandScriptSource(script="echo once >> /tmp/ran; cat /tmp/ran"),
        async_execution=False,
        timeout_in_seconds=60,
    ),
)
computers.machine_run_commands.begin_create_or_update(group, name, "by-sdk", command).result()
ran = computers.machine_run_commands.get(group, name, "by-sdk").properties.instance_view
seen["ran"] = [ran.execution_state, ran.exit_code, ran.output]
seen["commands"] = [it.name for it in computers.machine_run_commands.list(group, name)]
computers.machine_run_commands.begin_delete(group, name, "by-sdk").result()

# An extension, installed, read and listed; another one removed again.
def extension(publisher, kind):
    return compute.MachineExtension(
        location=machine.location,
        properties=compute.MachineExtensionProperties(publisher=publisher, type=kind),
    )

def install(publisher, kind):
    body = extension(publisher, kind)
    return computers.machine_extensions.begin_create_or_update(group, name, kind, body).result()

seen["extension"] = install("Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux").properties.provisioning_state
install("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent")
computers.machine_extensions.begin_delete(group, name, "AzureMonitorLinuxAgent").result()
seen["extensions"] = sorted(it.name for it in computers.machine_extensions.list(group, name))
try:
    computers.machine_extensions.get(group, name, "AzureMonitorLinuxAgent")
except ResourceNotFoundError as error:
    seen["removed"] = error.status_code
print(json.dumps(seen))
