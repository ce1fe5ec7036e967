#include "base/stand_in.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sinkstream {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string complaint_about(const std::string& content, const std::string& file = "dir/config.json") {
  try {
    refuse_stand_in(content, file);
    return "(taken)";
  } catch (const StartupError& error) {
    EXPECT_EQ(error.code(), ExitCode::model);
    return error.what();
  }
}

TEST(StandIn, PointersSayHowToGetTheFile) {
  EXPECT_THAT(
      complaint_about("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"),
      AllOf(HasSubstr("dir/config.json: a Git LFS pointer"), HasSubstr("git lfs pull")));
  EXPECT_THAT(complaint_about("version https://hawser.github.com/spec/v1\noid sha256:4d7a\nsize 1\n"),
              HasSubstr("a Git LFS pointer"));
  EXPECT_THAT(complaint_about("# xet version 0\nfilesize = 1\n"), HasSubstr("an Xet pointer"));
  EXPECT_THAT(complaint_about("/annex/objects/SHA256E-s123--abc.safetensors\n"), HasSubstr("git annex get"));
}

TEST(StandIn, AnswersOfServersAreNamed) {
  for (const char* page :
       {"<!DOCTYPE html><html>", "\n  <!doctype HTML>", "<html lang=en>", "\xEF\xBB\xBF<HTML>",
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"}) {
    EXPECT_THAT(complaint_about(page), HasSubstr("a web page")) << page;
  }
  for (const char* text :
       {"Entry not found", "Repository not found", "Invalid username or password.", "404: Not Found",
        "Access to model a/b is restricted.", "{\"error\":\"Repository not found\"}"}) {
    EXPECT_THAT(complaint_about(text), AllOf(HasSubstr("a server's answer"), HasSubstr(text))) << text;
  }
  EXPECT_THAT(complaint_about("Entry not found\n" + std::string(5000, '\1')),
              HasSubstr("Entry not found   "));
}

TEST(StandIn, WhatIsNoPlainFileIsNamed) {
  EXPECT_THAT(complaint_about("GGUF\3"), HasSubstr("GGUF"));
  EXPECT_THAT(complaint_about(std::string("PK\3\4\0\0", 6)), HasSubstr("a zip archive"));
  EXPECT_THAT(complaint_about("\x1f\x8b\x08"), HasSubstr("gzip"));
  EXPECT_THAT(complaint_about(std::string(4096, '\0')), HasSubstr("interrupted download"));
}

TEST(StandIn, NothingAtAllIsHalfADownload) {
  EXPECT_THAT(complaint_about(""), HasSubstr("dir/config.json: is empty"));
  EXPECT_THAT(complaint_about("", "a.safetensors"), HasSubstr("is empty"));
  EXPECT_EQ(complaint_about("", "chat_template.jinja"), "(taken)") << "a template may be empty";
}

TEST(StandIn, FilesAreTakenAsTheyAre) {
  for (const char* content :
       {"{}", "{\"model_type\": \"llama\"}", "null", " ", "version 2", "{% for m in messages %}",
        "<|user|>{{ messages[0].content }}", "{\"errors\": []}", "PK", "Access"}) {
    EXPECT_EQ(complaint_about(content), "(taken)") << content;
  }
}

TEST(JsonComplaint, HalfAFileIsSaidToBeOne) {
  EXPECT_THAT(json_complaint("syntax error - unexpected end of input"),
              HasSubstr("is the download complete?"));
  EXPECT_EQ(json_complaint("invalid literal"), "not valid JSON: invalid literal");
}

}  // namespace
}  // namespace sinkstream
