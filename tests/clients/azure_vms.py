"""Does with the typed SDKs what Relight does with virtual machines in Azure. Reads a lab's descriptor and a public key, prints what it saw as JSON."""

import json
import sys

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute import models as compute
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.network import models as network

lab = json.load(open(sys.argv[1]))
key = sys.argv[2]
GROUP = "rg-cloud"
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
computers = ComputeManagementClient(credential, lab["subscription"], **options)
networks = NetworkManagementClient(credential, lab["subscription"], **options)
seen = {}

# Power: started, looked at, and looked at again when it is on.
def power(name):
    view = computers.virtual_machines.instance_view(GROUP, name)
    return [status.code for status in view.statuses if status.code.startswith("PowerState/")]

seen["before"] = power("batch-01")
computers.virtual_machines.begin_start(GROUP, "batch-01").result()
seen["after"] = power("batch-01")
vm = computers.virtual_machines.get(GROUP, "jump-01", expand="instanceView")
seen["agent"] = vm.instance_view.vm_agent.statuses[0].display_status

# A script, by the action and as a resource.
wanted = compute.RunCommandInput(command_id="RunShellScript", script=["echo once >> /tmp/ran; cat /tmp/ran"])
ran = computers.virtual_machines.begin_run_command(GROUP, "jump-01", wanted).result()
seen["ran"] = ran.value[0].message
command = compute.VirtualMachineRunCommand(
    location=vm.location,
    source=compute.VirtualMachineRunCommandScriptSource(script="echo twice >> /tmp/ran; exit 3"),
    async_execution=False,
    timeout_in_seconds=60,
)
commands = computers.virtual_machine_run_commands
commands.begin_create_or_update(GROUP, "jump-01", "by-sdk", command).result()
view = commands.get_by_virtual_machine(GROUP, "jump-01", "by-sdk", expand="instanceView").instance_view
seen["exit_code"] = view.exit_code
commands.begin_delete(GROUP, "jump-01", "by-sdk").result()

# VMAccess lets a key in; what is protected does not come back.
def access(version):
    properties = compute.VirtualMachineExtensionProperties(
        publisher="Microsoft.OSTCExtensions",
        type="VMAccessForLinux",
        type_handler_version=version,
        auto_upgrade_minor_version=True,
        protected_settings={"username": "azureuser", "ssh_key": key},
    )
    return compute.VirtualMachineExtension(location=vm.location, properties=properties)

extensions = computers.virtual_machine_extensions
made = extensions.begin_create_or_update(GROUP, "jump-01", "VMAccessForLinux", access("1.5")).result()
seen["extension"] = [made.properties.provisioning_state, made.properties.protected_settings]
versions = computers.virtual_machine_extension_images.list_versions(
    vm.location, "Microsoft.OSTCExtensions", "VMAccessForLinux"
)
seen["versions"] = [it.name for it in versions]
try:
    extensions.begin_create_or_update(GROUP, "jump-01", "VMAccessForLinux", access("1.5.20.1")).result()
except HttpResponseError as error:
    seen["refused"] = error.error.code

# A rule, what holds before an interface, and a rule that goes again.
def rule(priority, port):
    return network.SecurityRule(
        protocol="Tcp",
        access="Allow",
        direction="Inbound",
        priority=priority,
        source_address_prefix="203.0.113.7/32",
        source_port_range="*",
        destination_address_prefix="*",
        destination_port_range=port,
    )

rules = networks.security_rules
made = rules.begin_create_or_update(GROUP, "shut-nsg", "by-sdk", rule(999, "22")).result()
seen["rule"] = made.provisioning_state
try:
    rules.begin_create_or_update(GROUP, "shut-nsg", "too", rule(999, "23")).result()
except HttpResponseError as error:
    seen["conflict"] = error.error.code
effective = networks.network_interfaces.begin_list_effective_network_security_groups(GROUP, "api-01-nic").result()
names = {it.name for group in effective.value for it in group.effective_security_rules}
seen["effective"] = sorted(name for name in names if name.startswith("securityRules/"))
rules.begin_create_or_update(GROUP, "shut-nsg", "goes", rule(998, "23")).result()
rules.begin_delete(GROUP, "shut-nsg", "goes").result()
try:
    rules.get(GROUP, "shut-nsg", "goes")
except ResourceNotFoundError as error:
    seen["removed"] = error.status_code

addresses = networks.public_ip_addresses.get(GROUP, "jump-01-ip")
seen["address"] = bool(addresses.ip_address)
print(json.dumps(seen))
