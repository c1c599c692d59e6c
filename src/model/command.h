// What may be asked of the platform or has been observed. A command is decided on once, in one transaction.
#pragma once

#include <variant>

#include "model/state.h"

namespace naru::command {

// Before anything else, once in the life of a data folder; nothing when there is one.
struct ChooseSecret {
  std::string secret;
};

// The first of each start of control: no deadline runs while nobody looks.
struct ControlStarted {};

// ---- asked by people and by git
struct CreateApp {
  std::string app;
};
struct RemoveApp {
  std::string app;
};
// One beside production, with its releases and variables.
struct RemoveEnvironment {
  EnvKey environment;
};
struct SetVariables {
  EnvKey environment;
  std::map<std::string, std::string> set;
  std::vector<std::string> unset;
  std::string by;
  // A commit whose files were read and say the same with and without this change: it is not delivered again.
  std::string unseen_by{};
};
// `recovered`: found in the repository at start, not pushed now; nothing when the commit was integrated
// before.
struct Push {
  std::string app, ref, commit, subject, author;
  bool recovered = false;
};
// A pipeline that failed, once more: the same commit, for what was mended outside of it (a base image, a
// registry, a full disk). none: the newest.
struct RetryPipeline {
  std::string app;
  std::optional<PipelineId> pipeline;
};
// Goes on with the rollout, or delivers what waits. With a version: offers this release as a canary, also one
// that came back before.
struct Promote {
  EnvKey environment;
  std::string by;
  std::optional<std::uint64_t> version{};
};
struct Abort {
  EnvKey environment;
  std::string by;
};
struct Rollback {
  EnvKey environment;
  std::optional<std::uint64_t> version;
  std::string by;
};  // none: the release before
struct StopEnvironment {
  EnvKey environment;
  bool stopped = true;
};

// ---- results of actions; `action` leaves the outbox with them
struct PlanFinished {
  ActionId action = 0;
  PipelineId pipeline = 0;
  std::string error;
  ApplicationSpec spec;
  std::vector<std::string> warnings;
  std::map<std::string, ApplicationSpec> elsewhere{};  // the other environments' specs, by name
  std::string hint{};
};
struct BuildFinished {
  ActionId action = 0;
  PipelineId pipeline = 0;
  std::string service;
  bool cached = false;
  std::string error;
  ImageInfo image;
  std::string hint{};
};
struct NetworkReady {
  ActionId action = 0;
  EnvKey environment;
  NetworkInfo network;
};
// It cannot be made yet and is tried again: the action stays.
struct NetworkFailed {
  EnvKey environment;
  std::string error;
};
struct InstanceStarted {
  ActionId action = 0;
  std::string instance;
  std::uint32_t attempt = 0;
  std::string address;
  std::int32_t pid = 0;
};
struct InstanceStartFailed {
  ActionId action = 0;
  std::string instance;
  std::uint32_t attempt = 0;
  std::string error;
};
struct InstanceStopped {
  ActionId action = 0;
  std::string instance;
  std::optional<std::int32_t> exit_code{};  // it had ended by itself before it was asked to
};
// It cannot be stopped yet and is tried again: the action stays.
struct InstanceStopFailed {
  std::string instance;
  std::string error;
};
struct ContainerRemoved {
  ActionId action = 0;
};
struct RoutesAcked {
  ActionId action = 0;
  std::uint64_t revision = 0;
};

struct NetworkRemoved {
  ActionId action = 0;
};
// `digest`: of what the launcher was given.
struct UdpRoutesSet {
  ActionId action = 0;
  EnvKey environment;
  std::string digest;
};
// It is tried again: the action stays.
struct UdpRoutesRefused {
  EnvKey environment;
  std::string error;
};

// ---- observations
struct ContainerExited {
  std::string container;
  std::optional<std::int32_t> exit_code;
  bool out_of_memory = false;
};
// The launcher's whole truth, when control connects. `asked`: before the question was sent; what has started
// since is not in it.
struct ContainersListed {
  std::vector<ContainerStatus> containers;
  WallTime asked = WallTime::max();
};
// What the operator allows, of every application that has or had something: the launcher's whole truth.
struct GrantsListed {
  std::vector<AppGrants> apps;
};
// Somebody else listens on an assigned port.
struct PortTaken {
  std::uint16_t port = 0;
};
struct Probed {
  std::string instance;
  std::uint32_t attempt = 0;
  bool healthy = false;
  std::string reason;
};
enum class Outcome { hold, promote, roll_back };
struct Judged {
  RolloutId rollout = 0;
  std::uint32_t step = 0;
  Outcome outcome = Outcome::hold;
  std::string reason;
  Json judge;
  Json verdict;
  std::vector<FailedExample> failed{};  // as far as they are known now
};
// What a slow request is, from the stable side's recent past; 0: too few requests to say.
struct LatencyBaseline {
  RolloutId rollout = 0;
  std::int64_t slow_us = 0;
};
struct Tick {};
// Forgets what nobody can go back to any more; of each application the newest `keep_releases` stay.
struct Housekeep {
  std::size_t keep_releases = 10;
};

}  // namespace naru::command

namespace naru {
using Command = std::variant<
    command::CreateApp, command::RemoveApp, command::SetVariables, command::Push, command::RetryPipeline,
    command::Promote, command::Abort, command::Rollback, command::StopEnvironment, command::PlanFinished,
    command::BuildFinished, command::NetworkReady, command::NetworkFailed, command::InstanceStarted,
    command::InstanceStartFailed, command::InstanceStopped, command::InstanceStopFailed,
    command::ContainerRemoved, command::RoutesAcked, command::ContainerExited, command::ContainersListed,
    command::PortTaken, command::Probed, command::Judged, command::LatencyBaseline, command::Tick,
    command::NetworkRemoved, command::Housekeep, command::UdpRoutesSet, command::UdpRoutesRefused,
    command::ChooseSecret, command::ControlStarted, command::RemoveEnvironment, command::GrantsListed>;
}  // namespace naru
