#include "control/addresses.h"

#include <gtest/gtest.h>

namespace naru::control {
namespace {

PortSpec published(std::uint16_t container, std::uint16_t host, std::string ip = "") {
  return {container, host, std::move(ip), Transport::tcp, ""};
}

struct World {
  State state;
  Environment environment;
  Release release;
  World(std::string name, std::vector<PortSpec> ports) {
    environment.app = "shop";
    environment.name = std::move(name);
    release.services.resize(1);
    release.services[0].spec.name = "web";
    release.services[0].spec.ports = std::move(ports);
  }
  std::vector<std::string> urls() const {
    std::vector<std::string> urls;
    for (const Address& address : addresses_of(state, environment, release, 8080))
      urls.push_back(address.url);
    return urls;
  }
};

using Urls = std::vector<std::string>;

TEST(Addresses, TellEveryPortAndTheNameWhereItLeadsSomewhere) {
  World forge("production", {published(22, 222), published(3000, 3001)});
  EXPECT_EQ(forge.urls(), (Urls{"tcp://localhost:222", "http://localhost:3001",
                                "http://web.production.shop.localhost:8080"}));
  forge.environment.name = "staging";
  forge.state.ports = {{"shop/staging/web/22", 20'001}};
  EXPECT_EQ(forge.urls(), (Urls{"tcp://localhost:20001", "http://web.staging.shop.localhost:8080"}));
}

TEST(Addresses, TellASecondHttpPortOutsideProductionWithTheOneAssigned) {
  World both("staging", {published(8086, 8086), published(8088, 8088)});
  both.state.ports = {{"shop/staging/web/8088", 20'002}};
  EXPECT_EQ(both.urls(), (Urls{"http://localhost:20002", "http://web.staging.shop.localhost:8080"}));
}

TEST(Addresses, TellAnIpv6AddressInBrackets) {
  World local("production", {published(8080, 8000, "::1"), published(9300, 9300, "127.0.0.1")});
  EXPECT_EQ(local.urls(),
            (Urls{"http://[::1]:8000", "tcp://127.0.0.1:9300", "http://web.production.shop.localhost:8080"}));
}

TEST(Addresses, TellNoNameThatLeadsNowhere) {
  World database("production", {published(5432, 5432)});
  database.release.services[0].image.exposed = {5432};
  EXPECT_EQ(database.urls(), (Urls{"tcp://localhost:5432"}));
  database.release.services[0].image.exposed = {5432, 8008};
  EXPECT_EQ(database.urls(), (Urls{"tcp://localhost:5432", "http://web.production.shop.localhost:8080"}));
  World neighbour("production", {});
  neighbour.release.services[0].image.exposed = {8080};
  EXPECT_TRUE(neighbour.urls().empty()) << "the file gives it no port";
}

}  // namespace
}  // namespace naru::control
