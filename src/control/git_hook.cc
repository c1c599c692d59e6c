#include "control/git_hook.h"

#include <signal.h>

#include <iostream>

#include "base/environment.h"
#include "base/utf8.h"
#include "io/http_client.h"
#include "ipc/data_folder.h"
#include "model/json_text.h"

namespace naru::control {

namespace {

constexpr std::size_t kMaxInput = 1U << 20;

std::string variable(const char* name) {
  return environment_variable(name).value_or("");
}

void print(std::string_view text) {
  // Nobody may be listening any more: that changes nothing.
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

int refuse(const Error& error) {
  print(printable(fmt::format("naru: {}\nhint: {}\n", error.message(), error.hint())));
  return 1;
}

// "<old> <new> <ref>" lines, as githooks(5) says.
Result<Json> read_updates() {
  Json updates = Json::array();
  std::string line;
  std::size_t total = 0;
  while (std::getline(std::cin, line)) {
    total += line.size() + 1;
    if (total > kMaxInput)
      return fail(Code::too_large, "more than {} bytes of refs are pushed at once", kMaxInput);
    const auto first = line.find(' '), second = line.find(' ', first + 1);
    if (first == std::string::npos || second == std::string::npos)
      return fail(Code::malformed, "git gave the line '{}'", line.substr(0, 200));
    updates.push_back({{"old", line.substr(0, first)},
                       {"new", line.substr(first + 1, second - first - 1)},
                       {"ref", line.substr(second + 1)}});
  }
  return updates;
}

io::FetchRequest request_to(const std::string& path, const Json& body) {
  io::FetchRequest request;
  request.method = "POST";
  request.url = "http://localhost" + path;
  request.unix_socket = ipc::DataFolder{variable("NARU_DATA")}.control_socket().string();
  request.headers = {{"Content-Type", "application/json"}};
  request.body = json_text(body);
  request.idle_timeout = 3600s;  // a build may be silent for long
  return request;
}

Error error_of(const io::Response& response) {
  const auto json = parse_json(response.body, "control's answer");
  const Json error = json && json->is_object() ? json->value("error", Json::object()) : Json::object();
  const auto code = code_from_name(error.value("code", "internal"));
  return {code.value_or(Code::internal),
          error.value("message", fmt::format("control answered {}", response.status)), 0,
          error.value("hint", "")};
}

int pre_receive(Json body) {
  body["object_directory"] = variable("GIT_OBJECT_DIRECTORY");
  body["alternates"] = variable("GIT_ALTERNATE_OBJECT_DIRECTORIES");
  body["quarantine"] = variable("GIT_QUARANTINE_PATH");
  const auto response = io::fetch(request_to("/internal/check", body));
  if (!response) return refuse(response.error());
  if (response->status != 200) return refuse(error_of(*response));
  const auto verdict = parse_json(response->body, "control's answer");
  if (!verdict) return refuse(verdict.error());
  const bool accepted = verdict->value("accepted", false);
  if (!accepted) print("naru: the push is refused\n");
  for (const Json& line : verdict->value("lines", Json::array()))
    if (line.is_string()) print(line.get<std::string>() + "\n");
  return accepted ? 0 : 1;
}

int post_receive(const Json& body) {
  io::FetchRequest request = request_to("/internal/pushed", body);
  request.on_body = [](std::string_view bytes) -> Result<void> {
    print(bytes);
    return {};
  };
  const auto response = io::fetch(std::move(request));
  if (response && response->ok()) return 0;
  // The commit is in: control compares refs with its pipelines at each start, and loses no push.
  print(fmt::format(
      "naru: the push is stored, but its progress cannot be shown: {}\n",
      response ? fmt::format("control answered {}", response->status) : response.error().message()));
  return 0;
}

}  // namespace

int git_hook(std::string_view which) {
  ::signal(SIGPIPE, SIG_IGN);
  if (variable("NARU_DATA").empty() || variable("NARU_APP").empty())
    return refuse({Code::push_refused, "this repository takes pushes over HTTP only", 0,
                   "see `naru app` for its address"});
  auto updates = read_updates();
  if (!updates) return refuse(updates.error());
  Json body{{"app", variable("NARU_APP")}, {"updates", std::move(*updates)}};
  if (which == "pre-receive") return pre_receive(std::move(body));
  if (which == "post-receive") return post_receive(body);
  return refuse({Code::invalid_argument, fmt::format("there is no git hook '{}'", which), 0, {}});
}

}  // namespace naru::control
