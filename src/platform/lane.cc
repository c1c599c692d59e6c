#include "platform/lane.h"

namespace naru::platform {

std::string lane_of(const Action& action) {
  switch (action.kind) {
    case ActionKind::publish_routes:
      return "routes";
    case ActionKind::start_instance:
    case ActionKind::stop_instance:
      return "instance " + action.subject;
    case ActionKind::remove_container:
      return "instance " + action.subject.substr(0, action.subject.rfind('.'));
    case ActionKind::build_service:
      return "build " + action.subject + " " + action.detail;
    case ActionKind::plan_pipeline:
      return "plan " + action.subject;
    case ActionKind::ensure_network:
    case ActionKind::remove_network:
    case ActionKind::set_udp_routes:
      return "network " + action.subject;
  }
  return {};
}

}  // namespace naru::platform
