#include "coordinator/api/request/unsupported_fields.h"

#include <nlohmann/json.hpp>

namespace sinkstream {
namespace {

using json = nlohmann::ordered_json;

// Samplers that other servers have, with the value that switches each off, and what only tunes them.
void refuse_samplers(RequestFields& fields) {
  for (const char* name :
       {"mirostat", "mirostat_mode", "dry_multiplier", "xtc_probability", "dynatemp_range", "top_a",
        "no_repeat_ngram_size", "smoothing_factor", "penalty_alpha", "epsilon_cutoff", "eta_cutoff"}) {
    fields.refuse_unless(name, 0);
  }
  for (const char* name : {"repeat_penalty", "typical_p", "tfs_z", "length_penalty", "guidance_scale",
                           "encoder_repetition_penalty", "num_beams"}) {
    fields.refuse_unless(name, 1);
  }
  fields.refuse_unless("top_n_sigma", -1);
  fields.refuse_unless("use_beam_search", false);
  fields.ignore({"mirostat_tau", "mirostat_eta", "dry_base", "dry_allowed_length", "dry_penalty_last_n",
                 "dry_range", "dry_sequence_breakers", "xtc_threshold", "dynatemp_exponent",
                 "smoothing_curve", "early_stopping"});
}

// An empty schema is none of these: it asks for any JSON.
void refuse_constraints(RequestFields& fields) {
  fields.refuse({"grammar", "structured_outputs", "structural_tag", "guided_regex", "guided_choice",
                 "guided_grammar", "logits_processors", "bad_words", "allowed_token_ids"});
  fields.refuse_unless("json_schema", nullptr);
  fields.refuse_unless("guided_json", nullptr);
  if (auto format = fields.object("response_format")) format->refuse_unless("type", "text");
}

}  // namespace

void refuse_tools(RequestFields& fields) {
  fields.refuse({"tools", "functions"});
  for (const char* name : {"tool_choice", "function_call"}) {
    const json* choice = fields.value(name);
    if (choice && *choice != "none") fields.refuse_unless(name, "auto");
  }
}

void refuse_unsupported(RequestFields& fields) {
  refuse_samplers(fields);
  refuse_constraints(fields);
  refuse_tools(fields);
  fields.refuse({"audio", "reasoning", "web_search_options", "prediction", "truncate_prompt_tokens",
                 "chat_template", "documents", "mm_processor_kwargs", "prompt_embeds"});
  fields.refuse_unless("return_tokens_as_token_ids", false);
  fields.refuse_unless("n_predict", -1);
  const json* modalities = fields.array("modalities");
  if (modalities && !modalities->empty()) fields.refuse_unless("modalities", json::array({"text"}));
  fields.ignore({"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier",
                 "prompt_cache_key", "prompt_cache_retention", "priority", "cache_salt", "verbosity"});
}

}  // namespace sinkstream
