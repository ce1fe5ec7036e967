// The steps of a tokenizer.json: its "normalizer", "pre_tokenizer" and "decoder". Throws StartupError naming
// file and field; what is not supported is refused by name. Where a field is missing, the `tokenizers`
// library's default holds.
#pragma once

#include "base/json_field.h"
#include "text/tokenizer/steps/decoder.h"
#include "text/tokenizer/steps/normalizer.h"
#include "text/tokenizer/steps/pre_tokenizer.h"

namespace sinkstream {

Normalizer read_normalizer(const JsonField& field);
PreTokenizer read_pre_tokenizer(const JsonField& field);
Decoder read_decoder(const JsonField& field);

}  // namespace sinkstream
