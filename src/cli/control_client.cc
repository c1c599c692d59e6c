#include "cli/control_client.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "cli/event_stream.h"
#include "format/http1.h"
#include "ipc/data_folder.h"
#include "model/json_text.h"

namespace naru::cli {

namespace {

constexpr milliseconds kForever = std::chrono::hours(24 * 365);

bool is_loopback(const std::string& host) {
  if (host == "localhost" || host.ends_with(".localhost")) return true;
  const auto address = io::Address::of_ip(host, 0);
  return address && address->is_loopback();
}

// Why the socket cannot be reached: 0 when it can.
int connect_errno(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

Result<Json> parse(std::string_view body) {
  if (body.empty()) return Json::object();
  Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded())
    return std::unexpected(Error{Code::malformed,
                                 "the answer is not JSON; is this the address of Naru's control?", 0,
                                 "check NARU_URL"});
  return json;
}

}  // namespace

std::string ControlPlace::socket() const {
  return ipc::DataFolder{data}.control_socket().string();
}

std::string query_part(std::string_view key, std::string_view value) {
  return fmt::format("{}={}", key, format::http1::percent_encode(value));
}
std::string path_part(std::string_view name) {
  return format::http1::percent_encode(name);
}

io::FetchRequest ControlClient::request(std::string_view method, std::string_view path) const {
  io::FetchRequest request;
  request.method = method;
  request.redirects = 0;
  if (place_.local()) {
    request.unix_socket = place_.socket();
    request.url = fmt::format("http://localhost{}", path);
  } else {
    std::string_view base = place_.url;
    while (base.ends_with('/')) base.remove_suffix(1);
    request.url = fmt::format("{}{}", base, path);
  }
  if (!place_.token.empty()) request.headers.push_back({"Authorization", "Bearer " + place_.token});
  return request;
}

Result<io::ClientOptions> ControlClient::options() const {
  io::ClientOptions options;
  if (place_.local()) return options;
  const auto url = io::Url::parse(place_.url);
  if (!url)
    return std::unexpected(Error{Code::invalid_argument, "NARU_URL: " + url.error().context, 0,
                                 "write it as https://naru.example.org:7443"});
  if (!url->tls && !is_loopback(url->host))
    return std::unexpected(
        Error{Code::invalid_argument,
              fmt::format("NARU_URL is {}: the token would go over the network in clear", url->origin()), 0,
              fmt::format("use https (on the server: naru up --tls-listen ...), or a tunnel: ssh -L "
                          "7433:127.0.0.1:7433 {}, then NARU_URL=http://127.0.0.1:7433",
                          url->host)});
  if (!url->tls || place_.ca.empty()) return options;
  auto context = io::TlsContext::client({.ca_file = place_.ca});
  if (!context)
    return std::unexpected(Error{Code::invalid_argument, "NARU_CA: " + context.error().context, 0,
                                 "name a PEM file with the certificate of who signed the server's, or with "
                                 "the server's own when it signed itself"});
  options.tls = std::move(*context);
  return options;
}

Result<io::Response> ControlClient::fetch(io::FetchRequest request) const {
  return io::fetch(std::move(request), TRY(options()));
}

Error ControlClient::explain_tls(const Error& error) const {
  const auto says = [&](std::string_view what) { return error.context.contains(what); };
  Error told{error.code, fmt::format("{}: {}", place_.url, error.context), 0, error.remedy};
  if (const auto prefix = error.context.find(io::kWrongName); prefix != std::string::npos)
    told.remedy = "ask for a name that the certificate has in NARU_URL, or have one made for this name";
  else if (says(io::kUntrusted) && place_.ca.empty())
    told.remedy =
        "if it is a certificate of your own, say who signed it: NARU_CA=FILE (PEM; a certificate that "
        "signed itself: that one)";
  else if (says(io::kUntrusted))
    told.remedy =
        fmt::format("{} (NARU_CA) is not who signed it; fetch the right one from the server", place_.ca);
  else if (says(io::kOutOfDate))
    told.remedy = "renew it on the server, which takes a new one by itself; or this machine's clock is wrong";
  else if (says(io::kNoTls))
    told.remedy = "check the port in NARU_URL: it must be the one of `naru up --tls-listen`";
  return told;
}

Error ControlClient::explain(const Error& error) const {
  if (error.code == Code::tls_failure) return explain_tls(error);
  if (error.code == Code::closed)
    return {Code::unavailable, "control closed the connection before it had answered", 0,
            place_.local()
                ? "it restarts by itself; try again, and see `naru doctor`"
                : "try again in a moment: it may be restarting, or have as many connections of this "
                  "machine as it takes"};
  if (error.code == Code::timeout)
    return {Code::timeout, fmt::format("control has not answered in time: {}", error.context), 0,
            "see `naru doctor`"};
  if (!place_.local()) {
    if (error.code == Code::unreachable)
      return {Code::unavailable, fmt::format("Naru cannot be reached at {}: {}", place_.url, error.message()),
              0, "check NARU_URL, and that it runs there"};
    return error;
  }
  if (error.code != Code::unreachable && error.code != Code::invalid_argument) return error;
  const int reason = connect_errno(place_.socket());
  if (reason == EACCES || reason == EPERM)
    return {Code::forbidden, fmt::format("{} may not be opened by this user", place_.socket()), 0,
            "use sudo, or set NARU_URL and NARU_TOKEN (`sudo naru token create`)"};
  if (reason == ENAMETOOLONG)
    return {Code::invalid_argument,
            fmt::format("the path of the data folder is too long for a socket: {}", place_.socket()), 0,
            "use a shorter --data"};
  const std::string start = place_.data == ControlPlace{}.data
                                ? "sudo naru up"
                                : fmt::format("sudo naru up --data {}", place_.data);
  return {Code::unavailable, fmt::format("Naru is not running on {}", place_.data), 0,
          fmt::format("start it with `{}`", start)};
}

Error ControlClient::refusal(int status, std::string_view body) {
  const Json json = Json::parse(body, nullptr, false);
  const auto error = json.is_object() ? json.find("error") : json.end();
  if (!json.is_object() || error == json.end() || !error->is_object())
    return {Code::internal, fmt::format("control answered {} without saying why", status), 0,
            "see `naru doctor`"};
  const auto text = [&](const char* key) {
    const auto found = error->find(key);
    return found != error->end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  return {code_from_name(text("code")).value_or(Code::internal), text("message"), 0, text("hint")};
}

Result<Json> ControlClient::ask(std::string_view method, std::string_view path, const Json& body) const {
  io::FetchRequest wanted = request(method, path);
  if (!body.is_null()) {
    wanted.headers.push_back({"Content-Type", "application/json"});
    wanted.body = json_text(body);
  }
  wanted.total_timeout = patience_;
  wanted.idle_timeout = std::chrono::minutes(3);  // removing an application waits for its containers
  const auto answer = fetch(std::move(wanted));
  if (!answer) return std::unexpected(explain(answer.error()));
  if (!answer->ok()) return std::unexpected(refusal(answer->status, answer->body));
  return parse(answer->body);
}

Result<void> ControlClient::stream(std::string_view method, std::string_view path, const Json& body,
                                   OnBytes on_bytes) const {
  io::FetchRequest wanted = request(method, path);
  if (!body.is_null()) {
    wanted.headers.push_back({"Content-Type", "application/json"});
    wanted.body = json_text(body);
  }
  int status = 0;
  std::string refused;
  wanted.idle_timeout = kForever;
  wanted.response_bytes = std::uint64_t{1} << 60;
  wanted.on_head = [&](int answered, const io::Headers&) -> Result<void> {
    status = answered;
    return {};
  };
  wanted.on_body = [&](std::string_view bytes) -> Result<void> {
    if (status < 400) return on_bytes(bytes);
    if (refused.size() < 64 << 10) refused += bytes;
    return {};
  };
  const auto answer = fetch(std::move(wanted));
  if (status >= 400) return std::unexpected(refusal(status, refused));
  if (answer) return {};
  if (status != 0 && answer.error().code == Code::closed)
    return std::unexpected(
        Error{Code::closed, "control ended the stream", 0, "it may be restarting; run the command again"});
  return std::unexpected(status == 0 ? explain(answer.error()) : answer.error());
}

Result<void> ControlClient::events(std::string_view path, OnEvent on_event) const {
  EventStream parser([&](const StreamEvent& event) -> Result<void> {
    const Json data = Json::parse(event.data, nullptr, false);
    if (data.is_discarded())
      return fail(Code::malformed, "an event '{}' of the stream is not JSON", event.name.substr(0, 40));
    return on_event(event.name, data);
  });
  return stream("GET", path, nullptr, [&](std::string_view bytes) { return parser.feed(bytes); });
}

Result<Json> ControlClient::upload(std::string_view path, const std::filesystem::path& file,
                                   std::function<void(std::uint64_t, std::uint64_t)> progress) const {
  const auto fd = std::make_shared<Fd>(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about{};
  if (!*fd || ::fstat(fd->get(), &about) != 0)
    return std::unexpected(Error{Code::not_found, fmt::format("{}: open", file.string()), errno,
                                 "name a file of this machine: what `docker save` writes, or a tar"});
  if (!S_ISREG(about.st_mode)) return fail(Code::invalid_argument, "{} is not a file", file.string());
  const auto all = static_cast<std::uint64_t>(about.st_size);
  io::FetchRequest wanted = request("POST", path);
  wanted.headers.push_back({"Content-Type", "application/x-tar"});
  wanted.body_length = all;
  wanted.idle_timeout = std::chrono::minutes(15);  // unpacking happens after the last byte
  wanted.body_source = [fd, all, sent = std::uint64_t{0}, progress = std::move(progress),
                        name = file.string()](std::span<char> buffer) mutable -> Result<std::size_t> {
    const ssize_t n = ::read(fd->get(), buffer.data(), buffer.size());
    if (n < 0) return fail_errno(Code::system, "{}: read", name);
    sent += static_cast<std::uint64_t>(n);
    if (progress) progress(sent, all);
    return static_cast<std::size_t>(n);
  };
  const auto answer = fetch(std::move(wanted));
  if (!answer) return std::unexpected(explain(answer.error()));
  if (!answer->ok()) return std::unexpected(refusal(answer->status, answer->body));
  return parse(answer->body);
}

}  // namespace naru::cli
