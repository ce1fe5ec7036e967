// Chats in sessions that clients keep: templates, prefixes, what penalties count.
#include "tests/coordinator/api/sessions/sessions_fixture.h"

namespace sinkstream::testing {
namespace {

TEST_F(SessionsTest, ChatsAddWhatTheTemplateAdds) {
  start();
  const std::string id = open({{"instructions", "Be kind."}});
  const Json system = message("system", "Be kind.");
  const auto pinned = std::ssize(rendered(Json::array({system}), false));
  EXPECT_EQ(show(id)["pinned_tokens"], pinned);
  say_to(id, "Hi <|end|> there");
  EXPECT_EQ(engine->commands<OpenSession>().at(0).window->sink_tokens, pinned);
  const std::string said = "Hello, dear world!";
  std::vector<TokenId> expected = rendered(Json::array({system, message("user", "Hi <|end|> there")}), true);
  const std::vector<TokenId> reply = tokens_of(said);
  expected.insert(expected.end(), reply.begin(), reply.end());
  EXPECT_EQ(kept(), expected);

  const Json second = say_to(id, "And now?");
  const Json history = Json::array(
      {system, message("user", "Hi <|end|> there"), message("assistant", said), message("user", "And now?")});
  expected = rendered(history, true);
  expected.insert(expected.end(), reply.begin(), reply.end());
  EXPECT_EQ(kept(), expected);
  EXPECT_LT(second["usage"]["prompt_tokens"].get<int>(), 20);

  // A message that is only taken in stands like any other.
  answer(path(id, "append"), {{"messages", Json::array({message("user", "More.")})}});
  Json longer = history;
  longer.push_back(message("assistant", said));
  longer.push_back(message("user", "More."));
  EXPECT_EQ(kept(), rendered(longer, false));
  say_to(id, "Well?");
  longer.push_back(message("user", "Well?"));
  expected = rendered(longer, true);
  expected.insert(expected.end(), reply.begin(), reply.end());
  EXPECT_EQ(kept(), expected);

  // Regenerating: back to before the turn, then the same again.
  Json shorter = longer;
  shorter.erase(shorter.size() - 1);
  const std::int64_t before = std::ssize(rendered(shorter, false));
  EXPECT_EQ(answer(path(id, "rollback"), {{"to", before}})["seen_tokens"], before);
  say_to(id, "Well?");
  EXPECT_EQ(kept(), expected);
}

TEST_F(SessionsTest, ATemplateThatRewritesIsSaid) {
  const ChatTemplate trims(TemplateSources{.usual = "{% for m in messages %}[{{ m.role }}]{{ m.content | "
                                                    "trim }}{% if not loop.last %};{% endif %}{% endfor %}"
                                                    "{% if add_generation_prompt %}[answer]{% endif %}",
                                           .usual_file = "x"});
  start(trims);
  say(" padded ");
  const std::string id = open();
  say_to(id, "one");
  Json body = chat("two");
  body["session"] = id;
  const RawResponse response = post_json(kChat, body);
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_NE(response.raw_head.find("the session keeps what it has"), std::string::npos) << response.raw_head;
}

TEST_F(SessionsTest, APrefixThatIsWrittenOtherwiseLaterIsRefused) {
  const ChatTemplate counts(
      TemplateSources{.usual = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}",
                      .usual_file = "x"});
  start(counts);
  const RawResponse refused = post_json(kSessions, {{"instructions", "x"}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(error_of(refused)["code"], "unsupported_content");
}

// Of what the session has already nobody is told again.
TEST_F(SessionsTest, MessagesThatTheTemplateLeavesOutAreToldOf) {
  const ChatTemplate forgetful(TemplateSources{
      .usual = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}[{{ m.role }}]{{ m.content }};"
               "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
      .usual_file = "x"});
  start(forgetful);
  const RawResponse pinned = post_json(kSessions, {{"instructions", "Be kind."}});
  EXPECT_EQ(pinned.status, 400) << pinned.body;
  const std::string id = open();
  say_to(id, "one");
  const auto append = [&](const Json& messages) {
    return post_json(path(id, "append"), {{"messages", messages}});
  };
  const RawResponse refused = append(Json::array({message("user", "two"), message("system", "Be kind.")}));
  EXPECT_EQ(refused.status, 400) << refused.body;
  EXPECT_EQ(error_of(refused)["param"], "messages[1]");
  const RawResponse warned = append(Json::array({message("user", "two"), message("tool", "18 degrees")}));
  EXPECT_EQ(warned.status, 200) << warned.body;
  EXPECT_NE(warned.raw_head.find("leaves out a message of role tool"), std::string::npos) << warned.raw_head;
  EXPECT_EQ(append(Json::array({message("user", "three")})).raw_head.find("leaves out"), std::string::npos);
}

TEST_F(SessionsTest, FieldsThatWouldChangeTheResultAreRefused) {
  start();
  const std::string id = open();
  const auto refused_field = [&](const std::string& where, const Json& body) {
    const RawResponse response = post_json(where, body);
    EXPECT_EQ(response.status, 400) << where << ' ' << body << ": " << response.body;
    return error_of(response)["param"].get<std::string>();
  };
  const Json tools = Json::array({{{"type", "function"}}});
  EXPECT_EQ(refused_field(kSessions, {{"tools", tools}}), "tools");
  EXPECT_EQ(refused_field(kSessions, {{"chat_template_kwargs", {{"x", 1}}}}), "chat_template_kwargs");
  EXPECT_EQ(refused_field(path(id, "append"), {{"prompt", {5}}, {"tools", tools}}), "tools");
  EXPECT_EQ(post_json(path(id, "append"), {{"prompt", {5}}, {"model", "nobody's"}}).status, 404);
  EXPECT_EQ(post_json(path(id, "fork"), {{"expected_seen", 3}}).status, 409);
  EXPECT_EQ(post_json(path(id, "fork"), {{"expected_seen", 0}}).status, 200);
}

TEST_F(SessionsTest, APrefixThatIsTooLongOrCannotStandAloneIsRefused) {
  const ChatTemplate needs_user(TemplateSources{
      .usual = "{% if messages[-1].role != 'user' %}{{ raise_exception('needs a user') }}{% endif %}x",
      .usual_file = "x"});
  start(needs_user);
  const RawResponse alone = post_json(kSessions, {{"instructions", "x"}});
  EXPECT_EQ(alone.status, 400);
  EXPECT_NE(error_of(alone)["message"].get<std::string>().find("needs a user"), std::string::npos);
  const std::vector<TokenId> many(65, 5);
  const RawResponse longer = post_json(kSessions, {{"prompt", many}});
  EXPECT_EQ(longer.status, 400);
  EXPECT_NE(error_of(longer)["message"].get<std::string>().find("cache.max_sink_tokens"), std::string::npos);
  EXPECT_EQ(post_json(kSessions, {{"prompt", "x"}, {"instructions", "y"}}).status, 400);
  EXPECT_EQ(post_json(kSessions, {{"metadata", {{"x", 1}}}}).status, 400);
  EXPECT_EQ(post_json(kSessions, {{"ttl_seconds", 86401}}).status, 400);
  EXPECT_EQ(post_json(kSessions, {{"window_tokens", 29}}).status, 400);
}

TEST_F(SessionsTest, PenaltiesCountTheSessionsAnswers) {
  start();
  const std::string id = open({{"instructions", "Be kind."}});
  const std::vector<TokenId> reply = tokens_of("Hello, dear world!");
  const auto earlier = [&](const std::string& text, int repeat_last_n) {
    Json body = chat(text);
    body.update({{"session", id}, {"repetition_penalty", 1.2}, {"repeat_last_n", repeat_last_n}});
    answer(kChat, body);
    return engine->requests().back().sampling.earlier_output;
  };
  const auto last = [](const std::vector<TokenId>& tokens, std::ptrdiff_t count) {
    return std::vector<TokenId>(tokens.end() - count, tokens.end());
  };
  const auto size = std::ssize(reply);
  EXPECT_TRUE(earlier("Hi", 1000).empty()) << "nothing was answered yet";
  EXPECT_EQ(earlier("And?", 1000), reply);
  std::vector<TokenId> both = reply;
  both.insert(both.end(), reply.begin(), reply.end());
  EXPECT_EQ(earlier("And then?", 1000), both);
  EXPECT_EQ(earlier("Well?", static_cast<int>(size + 2)), last(both, size + 2));
  EXPECT_TRUE(earlier("So?", -1).empty()) << "all of this turn's alone";
  EXPECT_TRUE(earlier("So?", 0).empty());

  // What was taken back was not said.
  const std::int64_t seen = show(id)["seen_tokens"];
  answer(path(id, "rollback"), {{"to", seen - 2}});
  const std::vector<TokenId> cut(reply.begin(), reply.end() - 2);
  EXPECT_EQ(earlier("Again", static_cast<int>(size - 2)), cut);
}

// Back to any of them the session can go, as long as its cache has it.
TEST_F(SessionsTest, ManyTurnsAreRemembered) {
  limits.session.window = {4, 8000};
  limits.session.ring_capacity = 8128;
  start();
  const std::string id = open();
  constexpr int kTurns = 100;
  const std::vector<TokenId> reply = tokens_of("Hello, dear world!");
  std::vector<std::int64_t> seen;
  for (int i = 0; i < kTurns; ++i) {
    say_to(id, "Turn " + std::to_string(i));
    seen.push_back(show(id)["seen_tokens"]);
  }
  Json body = chat("And now?");
  body.update({{"session", id}, {"repetition_penalty", 1.2}, {"repeat_last_n", 65536}});
  answer(kChat, body);
  EXPECT_EQ(std::ssize(engine->requests().back().sampling.earlier_output), kTurns * std::ssize(reply));

  answer(path(id, "rollback"), {{"to", seen[9]}});
  say_to(id, "Another way");
  Json messages = Json::array();
  for (int i = 0; i < 10; ++i) {
    messages.push_back(message("user", "Turn " + std::to_string(i)));
    messages.push_back(message("assistant", "Hello, dear world!"));
  }
  messages.push_back(message("user", "Another way"));
  std::vector<TokenId> expected = rendered(messages, true);
  expected.insert(expected.end(), reply.begin(), reply.end());
  EXPECT_EQ(kept(), expected);
}

}  // namespace
}  // namespace sinkstream::testing
