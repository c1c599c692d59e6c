#include "build/plan.h"

#include <gtest/gtest.h>

#include "build/testing.h"

namespace naru::build {
namespace {

using testing::TempFolder;

image::Image debian() {
  image::Image image;
  image.layers = {{Digest::of_sha256("b"), Digest::of_sha256("d"), std::string(format::kOciLayerGzip), 1}};
  image.config.env = {"PATH=/bin", "LANG=C"};
  image.config.cmd = {"bash"};
  return image;
}

ContextListing listing() {
  ContextListing context;
  context.entries = {{"a.txt", EntryKind::file, 0644, 1, Digest::of_sha256("a"), {}},
                     {"lib", EntryKind::directory, 0755, 0, {}, {}},
                     {"lib/x.h", EntryKind::file, 0644, 1, Digest::of_sha256("x"), {}},
                     {"lib-2", EntryKind::directory, 0755, 0, {}, {}},
                     {"link", EntryKind::symlink, 0777, 0, {}, "lib"},
                     {"loop", EntryKind::symlink, 0777, 0, {}, "loop"}};
  std::ranges::sort(context.entries, {}, &ContextEntry::path);
  context.left_out = {"secret"};
  return context;
}

Result<Plan> plan(std::string_view text, const PlanOptions& options = {}) {
  const auto file = TRY(format::parse_dockerfile(text, "web/Dockerfile"));
  std::map<std::string, image::Image> images;
  for (const auto& [reference, line] : TRY(images_needed(file, options))) images[reference] = debian();
  return make_plan(file, options, listing(), images);
}

std::vector<std::string> keys(const Plan& plan) {
  std::vector<std::string> all;
  for (const PlanStage& stage : plan.stages)
    for (const PlanStep& step : stage.steps) all.push_back(step.key.text());
  return all;
}

TEST(Plan, BecomesAGraphOfTheNeededStages) {
  const auto made = plan(R"(ARG TAG=bookworm-slim
FROM debian:${TAG} AS build
ARG MODE=fast
ENV OUT=/out
WORKDIR src
COPY lib ./lib/
RUN make $MODE
FROM debian:$TAG AS unused
RUN never
FROM scratch
COPY --from=build --chown=1000 /src/${OUT}x /bin/
COPY --from=alpine /etc/x /etc/x
USER 1000
EXPOSE 80 53/udp 8000-8001
ENTRYPOINT exec web
)");
  ASSERT_TRUE(made) << made.error().context;
  const std::string x = Digest::of_sha256("x").text();
  const auto& build = made->stages[0];
  EXPECT_EQ(describe(*made),
            "stage build on docker.io/library/debian:bookworm-slim\n"
            "  5 directory: WORKDIR src\n"
            "      the directory = /src\n"
            "  6 copy: COPY lib ./lib/\n"
            "      the sources = [\"lib\"]\n"
            "      the destination = /src/lib/\n"
            "      lib = directory 0755\n"
            "      lib/x.h = file 0644 " +
                x +
                "\n"
                "  7 run: RUN make $MODE\n"
                "      the command = [\"/bin/sh\",\"-c\",\"make $MODE\"]\n"
                "      the variable PATH = =/bin\n"
                "      the variable LANG = =C\n"
                "      the variable OUT = =/out\n"
                "      the argument MODE = =fast\n"
                "      the working directory = /src\n"
                "  config env [PATH=/bin, LANG=C, OUT=/out] entrypoint [] cmd [bash] workdir '/src' user '' "
                "ports []\n"
                "stage docker.io/library/alpine:latest on docker.io/library/alpine:latest\n"
                "  config env [PATH=/bin, LANG=C] entrypoint [] cmd [bash] workdir '' user '' ports []\n"
                "target stage 2 on scratch\n"
                "  11 copy: COPY --from=build --chown=1000 /src/${OUT}x /bin/\n"
                "      the sources = [\"src/x\"]\n"
                "      the destination = /bin/\n"
                "      the owner = 1000\n"
                "      what --from=build holds = " +
                build.key.text() +
                "\n"
                "  12 copy: COPY --from=alpine /etc/x /etc/x\n"
                "      the sources = [\"etc/x\"]\n"
                "      the destination = /etc/x\n"
                "      what --from=alpine holds = " +
                made->stages[1].key.text() +
                "\n"
                "  config env [] entrypoint [/bin/sh, -c, exec web] cmd [] workdir '' user '1000' ports "
                "[53/udp, 80/tcp, 8000/tcp, 8001/tcp]\n");
}

TEST(Plan, KeepsKeysOfWhatSeesNoDifference) {
  const auto one = plan("FROM debian\nRUN a\nLABEL x=1\nCMD b\nRUN c\n");
  const auto two = plan("FROM debian\nRUN  a\nLABEL x=2\nCMD z\nEXPOSE 80\nRUN c\n");
  ASSERT_TRUE(one && two);
  // Spaces in a shell's command line are the shell's business, hence not "RUN a   b".
  EXPECT_EQ(keys(*one), keys(*two));
  const auto three = plan("FROM debian\nENV x=1\nRUN a\nRUN c\n");
  EXPECT_NE(keys(*one).front(), keys(*three).front());
}

TEST(Plan, PassesConfigurationOnAndResetsAForeignCmd) {
  const auto made = plan(
      "FROM debian AS a\nENV A=1 B=$A\nENV B=${B:-none}$A\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT "
      "[\"x\"]\nFROM a\nARG A=9\nRUN $A\nCMD y $A\nHEALTHCHECK --retries=2 CMD z\n");
  ASSERT_TRUE(made) << made.error().context;
  const auto& config = made->stages.back().config;
  EXPECT_EQ(config.env_value("B"), "none1");
  EXPECT_EQ(config.entrypoint, std::vector<std::string>{"x"});
  EXPECT_EQ(config.cmd, (std::vector<std::string>{"/bin/bash", "-c", "y $A"}));
  EXPECT_EQ(config.health->test, (std::vector<std::string>{"/bin/bash", "-c", "z"}));
  EXPECT_EQ(config.health->retries, 2U);
  EXPECT_EQ(std::ranges::count(made->stages.back().steps[0].run.env, "A=1"), 1);
  EXPECT_EQ(std::ranges::count(made->stages.back().steps[0].run.env, "A=9"), 0);
  EXPECT_TRUE(made->stages.front().config.cmd.empty());
}

TEST(Plan, TakesArgumentsFromTheBuildTheStageAndTheTop) {
  const PlanOptions options{"", {{"GIVEN", "g"}, {"UNKNOWN", "u"}}, {}};
  const auto made = plan(
      "ARG TOP=t\nARG GIVEN=no\nFROM debian\nARG TOP\nARG GIVEN=alsono\nARG OWN=o$TOP\nARG NOTHING\nARG "
      "TARGETARCH\nRUN x\n",
      options);
  ASSERT_TRUE(made) << made.error().context;
  const auto& env = made->stages[0].steps[0].run.env;
  for (const char* want : {"TOP=t", "GIVEN=g", "OWN=ot", "TARGETARCH=amd64"})
    EXPECT_EQ(std::ranges::count(env, want), 1) << want;
  EXPECT_TRUE(std::ranges::none_of(
      env, [](const std::string& v) { return v.starts_with("NOTHING") || v.starts_with("UNKNOWN"); }));
  ASSERT_EQ(made->warnings.size(), 1U);
  EXPECT_NE(made->warnings[0].find("UNKNOWN"), std::string::npos);
}

TEST(Plan, FollowsLinksInTheContextAndMatchesPatterns) {
  const auto parts = [](std::string_view copy) {
    const auto made = plan("FROM scratch\n" + std::string(copy));
    EXPECT_TRUE(made) << made.error().context;
    std::vector<std::string> names;
    if (made)
      for (const KeyPart& part : made->stages[0].steps[0].parts)
        if (!part.name.starts_with("the ")) names.push_back(part.name);
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(parts("COPY link/x.h /"), Names{"lib/x.h"});
  EXPECT_EQ(parts("COPY link /y"), (Names{"lib", "lib/x.h"}));
  EXPECT_EQ(parts("COPY l*/*.h a.txt /y/"), (Names{"a.txt", "lib/x.h"}));
  EXPECT_EQ(parts("COPY ../../lib /y"), (Names{"lib", "lib/x.h"}));
  EXPECT_EQ(parts("COPY / /y").size(), 6U);
}

TEST(Plan, NamesTheLineOfWhatIsWrong) {
  const std::vector<std::tuple<std::string, Code, std::string>> cases{
      {"FROM debian\nRUN a\nCOPY nothing /\n", Code::build_source_missing,
       "web/Dockerfile:3: COPY: 'nothing' is not in the build context"},
      {"FROM debian\nCOPY secret /\n", Code::build_source_missing,
       "web/Dockerfile:2: COPY: 'secret' is left out by .dockerignore"},
      {"FROM debian\nCOPY *.zip /\n", Code::build_source_missing, "web/Dockerfile:2:"},
      {"FROM debian\nCOPY loop /\n", Code::build_context_invalid, "symbolic links"},
      {"FROM debian\nCOPY a.txt lib /x\n", Code::dockerfile_invalid, "end with '/'"},
      {"FROM debian\nCOPY --chmod=rwx a.txt /x\n", Code::dockerfile_invalid, "octal"},
      {"FROM debian\nEXPOSE 70000\n", Code::dockerfile_invalid, "is not a port"},
      {"FROM debian\nEXPOSE 1-9999\n", Code::too_large, "1000 ports"},
      {"FROM debian\nSTOPSIGNAL now\n", Code::dockerfile_invalid, "is not a signal"},
      {"FROM debian\nUSER $nobody\n", Code::dockerfile_invalid, "web/Dockerfile:2: USER: the user is empty"},
      {"FROM debian\nENV A=\"${A:?set it}\"\n", Code::dockerfile_invalid, "A: set it"},
      {"FROM $BASE\n", Code::dockerfile_invalid, "web/Dockerfile:1: FROM $BASE names no image"},
      {"FROM a//b\n", Code::dockerfile_invalid, "web/Dockerfile:1:"},
      {"FROM --platform=linux/arm64 debian\n", Code::unsupported,
       "web/Dockerfile:1: the platform linux/arm64"},
      {"FROM debian AS a\nCOPY --from=b /x /y\nFROM debian AS b\nFROM a\n", Code::dockerfile_invalid,
       "web/Dockerfile:2: --from=b names a stage that comes later"},
  };
  for (const auto& [text, code, what] : cases) {
    const auto made = plan(text);
    ASSERT_FALSE(made) << text;
    EXPECT_EQ(made.error().code, code) << made.error().context;
    EXPECT_NE(made.error().context.find(what), std::string::npos) << made.error().context;
  }
  const auto made = plan("FROM debian AS one\n", {"two", {}, {}});
  EXPECT_EQ(made.error().code, Code::dockerfile_invalid);
  EXPECT_EQ(made.error().hint(), "there are: one");
}

TEST(Plan, IsBoundedWhenVariablesGrow) {
  std::string text = "FROM debian\nENV A=aaaaaaaaaaaaaaaa\n";
  for (int i = 0; i < 40; ++i) text += "ENV A=$A$A\n";
  EXPECT_EQ(plan(text).error().code, Code::too_large);
}

TEST(KeyOf, TellsPartsApart) {
  EXPECT_NE(key_of({{"ab", "c"}}), key_of({{"a", "bc"}}));
  EXPECT_NE(key_of({{"a", ""}, {"b", ""}}), key_of({{"a", "b"}}));
}

TEST(WhyMissed, NamesAFewDifferences) {
  EXPECT_EQ(why_missed({{"a", "1"}, {"b", "1"}}, {{"a", "1"}, {"b", "2"}}), "b changed");
  EXPECT_EQ(why_missed({{"a", "1"}}, {{"b", "1"}}), "b is new, a is gone");
  EXPECT_EQ(why_missed({}, {{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}}),
            "a is new, b is new, c is new, and 1 more");
}

}  // namespace
}  // namespace naru::build
