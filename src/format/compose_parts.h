// Inside of the compose reader: what reads which part of the file. Faults go into the ComposeReading.
#pragma once

#include <set>

#include "format/compose_reading.h"

namespace naru::format {

// A service that is being read: the spec, and where its parts stood, for the checks over the whole
// application.
struct ServiceDraft {
  ServiceSpec spec;
  At at;
  bool has_restart = false;
  At restart_at;
  At replicas_at;
  // One for each element of the spec's list of the same name.
  std::vector<At> port_places, dependency_places, mount_places, network_places;
};

// What the whole file gives to the reading of each service.
struct ComposeScope {
  std::map<std::string, std::string> variables;  // of the environment, over those of `.env`
};

ServiceDraft read_service(ComposeReading& reading, const ComposeScope& scope, const std::string& name,
                          const At& at);

BuildSpec read_build(ComposeReading& reading, const ComposeScope& scope, const At& at);
HealthSpec read_health(ComposeReading& reading, const At& at);
void read_depends_on(ComposeReading& reading, ServiceDraft& draft, const At& at);
void read_networks(ComposeReading& reading, ServiceDraft& draft, const At& at);
void read_deploy(ComposeReading& reading, ServiceDraft& draft, ResourceSpec& limits, const At& at);
// command and entrypoint: a list, or text that is split as a shell would.
std::vector<std::string> read_words(ComposeReading& reading, const At& at);
std::map<std::string, std::string> read_environment(ComposeReading& reading, const ComposeScope& scope,
                                                    const At& at);
std::map<std::string, std::string> read_env_files(ComposeReading& reading, const ComposeScope& scope,
                                                  const At& at);

void read_ports(ComposeReading& reading, ServiceDraft& draft, const At& at);
void read_expose(ComposeReading& reading, ServiceDraft& draft, const At& at);
void read_mounts(ComposeReading& reading, ServiceDraft& draft, const At& at);
void read_tmpfs(ComposeReading& reading, ServiceDraft& draft, const At& at);

std::uint32_t read_cpus(ComposeReading& reading, const At& at);
std::uint64_t read_memory(ComposeReading& reading, const At& at);
RestartSpec read_restart(ComposeReading& reading, const At& at);

void read_root_extension(ComposeReading& reading, ApplicationSpec& spec, const At& at);
void settle_probe(ComposeReading& reading, const std::vector<ServiceDraft>& services, ApplicationSpec& spec,
                  const At& root);
void read_service_extension(ComposeReading& reading, ServiceSpec& spec, const At& at);

// A container's security: keys that would reach beyond it.
std::vector<std::string> read_capabilities(ComposeReading& reading, const At& at, bool add);
void read_security_opt(ComposeReading& reading, const At& at);

// Over all services: unknown names, cycles, collisions, state that would run twice.
void check_application(ComposeReading& reading, const std::vector<ServiceDraft>& services,
                       const ApplicationSpec& spec, const At& root);

}  // namespace naru::format
