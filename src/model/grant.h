// What the operator allows one application to reach beyond its containers: `naru app allow APP GRANT`. The
// reader of compose files, the launcher, control and the command line hold to these same rules; decided in
// docs/decisions/0011.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/container.h"

namespace naru {

inline constexpr std::size_t kMaxGrants = 64;  // of one application

enum class GrantKind { capability, bind };

// A grant, and as well what a service needs one for.
struct Grant {
  GrantKind kind = GrantKind::capability;
  std::string name;       // "NET_ADMIN"; of a bind, a path as machine_path() gives it
  bool writable = false;  // of a bind
  bool operator==(const Grant&) const = default;

  std::string text() const;  // "cap:NET_ADMIN", "bind:/srv/photos", "bind:/srv/photos:rw"
  // A folder is allowed with all that lies in it, and to be read where it may be written.
  bool covers(const Grant& need) const;
};

// As people write it. invalid_argument: it is none; forbidden: one that nobody can give, with the reason.
Result<Grant> parse_grant(std::string_view text);
// The data folder of Naru and what else only this machine knows are the launcher's to refuse.
// Why `grant` cannot be given to anybody; "" = it can.
std::string why_never(const Grant& grant);
// Without CAP_.
std::vector<std::string_view> grantable_capabilities();
// What the grant lets its holder do to the machine, in a sentence that begins with a capital letter.
std::string reach_of(const Grant& grant);

// An absolute path of at most 1,024 bytes without "..", ':' and control characters, normalised ("/a//b/" is
// "/a/b").
std::optional<std::string> machine_path(std::string_view text);

// What of it reaches beyond the container. `checkouts`: where binds need no grant.
std::vector<Grant> needs_of(const ContainerSpec& container, std::string_view checkouts);
std::vector<Grant> needs_of(const ServiceSpec& service);
bool is_covered(const Grant& need, std::span<const Grant> grants);
// For a shell: "naru app allow shop cap:NET_ADMIN", also of "shop/staging": a grant is the application's.
std::string allow_command(std::string_view app, const Grant& need);

// Something that the operator allowed an application.
struct GrantRecord {
  std::string grant;  // "cap:NET_ADMIN"
  std::string by;     // the operator's name on the machine
  WallTime at{};
  bool operator==(const GrantRecord&) const = default;
};
NARU_JSON(GrantRecord)

// What one application has, as the launcher keeps it; `by` and `changed` are of the last change.
struct AppGrants {
  std::string app;
  std::vector<GrantRecord> grants;
  std::string by;
  WallTime changed{};
};
NARU_JSON(AppGrants)

// Those that this Naru knows: a record of a newer one gives nothing.
std::vector<Grant> grants_in(const std::vector<GrantRecord>& records);

}  // namespace naru
