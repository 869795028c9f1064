// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Index rules and their two readings. Sharding: a dim of the iteration space is cut over devices, and each operand and
// result is then sharded along the tensor dim that it stands at, replicated where it does not stand, and a result is a
// partial sum where the dim is reduced. Chunking: the same for slices. So both are read off one rule.
#include "dialects/nn/IndexRule.h"
#include "dialects/nn/NnDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace snug;

namespace {
// "S0" sharded along dim 0, "H0" cut along dim 0 where parts need a halo or are moved, "R" replicated, "P" partial (a sum
// unless named), "-" the op may not be cut so.
std::string placement(const IndexRule &rule, AffineMap map, unsigned dim) {
  if (!map)
    return "R";
  for (auto [position, expr] : llvm::enumerate(map.getResults()))
    if (expr.isFunctionOfDim(dim)) {
      SmallVector<AffineExpr> first(map.getNumDims(), getAffineConstantExpr(0, expr.getContext()));
      bool isMoved = expr.replaceDims(first) != getAffineConstantExpr(0, expr.getContext());
      for (unsigned tap = 0; tap < map.getNumDims(); ++tap)
        isMoved = isMoved || (expr.isFunctionOfDim(tap) && llvm::none_of(rule.results, [&](AffineMap result) {
                                return result.isFunctionOfDim(tap);
                              }) && expr != getAffineDimExpr(tap, expr.getContext()));
      return (isMoved ? "H" : "S") + std::to_string(position);
    }
  return "R";
}

std::string sharding(const IndexRule &rule, unsigned dim) {
  std::string text;
  if (rule.dims[dim].kind == IterKind::Whole)
    return "-";
  for (AffineMap map : rule.operands)
    text += placement(rule, map, dim) + " ";
  text += "->";
  for (AffineMap map : rule.results) {
    bool partial = rule.dims[dim].kind == IterKind::Reduction;
    switch (rule.dims[dim].combiner) {
    case Combiner::Max:
      text += " Pmax";
      break;
    case Combiner::OnlineSoftmax:
      text += " Psoftmax";
      break;
    default:
      text += partial ? " P" : " " + placement(rule, map, dim);
    }
  }
  return text;
}

class IndexRules : public testing::Test {
protected:
  IndexRules() : context(registry()) { context.loadAllAvailableDialects(); }

  static const DialectRegistry &registry() {
    static DialectRegistry registry = [] {
      DialectRegistry r;
      r.insert<arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
               tensor::TensorDialect>();
      registerNnDialect(r);
      registerIndexRuleModels(r);
      return r;
    }();
    return registry;
  }

  // The rule of the op before the return of a function with this body.
  IndexRule ruleOf(const std::string &arguments, const std::string &body) {
    std::string text = "func.func @f(" + arguments + ") {\n" + body + "\nreturn\n}\n";
    module = parseSourceString<ModuleOp>(text, &context);
    if (!module) {
      ADD_FAILURE() << text;
      return {};
    }
    Block &block = (*module->getOps<func::FuncOp>().begin()).front();
    auto op = dyn_cast<IndexRuleOpInterface>(block.getTerminator()->getPrevNode());
    FailureOr<IndexRule> rule = op ? op.getIndexRule() : FailureOr<IndexRule>(failure());
    if (failed(rule)) {
      ADD_FAILURE() << "no rule: " << text;
      return {};
    }
    return *rule;
  }

  // What cutting each dim of the op's iterations does.
  IndexRule expect(const std::string &arguments, const std::string &body, const std::vector<std::string> &shardings) {
    IndexRule rule = ruleOf(arguments, body);
    std::vector<std::string> got;
    for (unsigned dim = 0; dim < rule.dims.size(); ++dim)
      got.push_back(sharding(rule, dim));
    EXPECT_EQ(got, shardings) << body;
    return rule;
  }

  IndexRule contraction(const std::string &dims, const std::string &a, const std::string &b, const std::string &c) {
    auto map = [&](const std::string &letters) {
      std::string all, some;
      for (char d : dims)
        all += (all.empty() ? "" : ", ") + std::string(1, d);
      for (char d : letters)
        some += (some.empty() ? "" : ", ") + std::string(1, d);
      return "affine_map<(" + all + ") -> (" + some + ")>";
    };
    auto type = [](const std::string &letters) {
      std::string text = "tensor<";
      for (size_t i = 0; i < letters.size(); ++i)
        text += "4x";
      return text + "f32>";
    };
    std::string kinds;
    for (char d : dims)
      kinds +=
          (kinds.empty() ? "\"" : ", \"") + std::string(c.find(d) != std::string::npos ? "parallel\"" : "reduction\"");
    return ruleOf("%a: " + type(a) + ", %b: " + type(b) + ", %c: " + type(c),
                  "%r = linalg.generic {indexing_maps = [" + map(a) + ", " + map(b) + ", " + map(c) +
                      "], iterator_types = [" + kinds + "]} ins(%a, %b : " + type(a) + ", " + type(b) + ") outs(%c : " +
                      type(c) + ") {\n^bb0(%x: f32, %y: f32, %z: f32):\n%p = arith.mulf %x, %y : f32\n" +
                      "%s = arith.addf %z, %p : f32\nlinalg.yield %s : f32\n} -> " + type(c));
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

// One row a dim of the einsum: what cutting it does to x, w, the destination and the result.
struct Einsum {
  const char *dims, *a, *b, *c;
  std::vector<const char *> expected;
};

TEST_F(IndexRules, ShardingOfEinsums) {
  const Einsum table[] = {
      // Linear layers: tokens leave the weight replicated; the output dim shards weight and result (column); the input
      // dim shards activation and weight and leaves partial sums (row).
      {"mnk", "mk", "kn", "mn", {"S0 R S0 -> S0", "R S1 S1 -> S1", "S1 S0 R -> P"}},
      // Scores and their product with values: batch and heads shard all, queries leave keys replicated, keys shard the
      // scores in one and leave partial sums in the other.
      {"bhstd",
       "bhsd",
       "bhtd",
       "bhst",
       {"S0 S0 S0 -> S0", "S1 S1 S1 -> S1", "S2 R S2 -> S2", "R S2 S3 -> S3", "S3 S3 R -> P"}},
      {"bhsdt",
       "bhst",
       "bhtd",
       "bhsd",
       {"S0 S0 S0 -> S0", "S1 S1 S1 -> S1", "S2 R S2 -> S2", "R S3 S3 -> S3", "S3 S2 R -> P"}},
      // Outgoing edges of a triangle: rows of one factor, rows of the other, the third node is summed.
      {"ijck", "ikc", "jkc", "ijc", {"S0 R S0 -> S0", "R S0 S1 -> S1", "S2 S2 S2 -> S2", "S1 S1 R -> P"}},
  };
  for (const Einsum &row : table) {
    IndexRule rule = contraction(row.dims, row.a, row.b, row.c);
    ASSERT_EQ(rule.dims.size(), std::string(row.dims).size());
    for (size_t dim = 0; dim < row.expected.size(); ++dim)
      EXPECT_EQ(sharding(rule, dim), row.expected[dim]) << row.dims << " dim " << row.dims[dim];
  }
  // x[b,s,h] w[h,f]: the two strategies of a two-level linear, o over the output dim and i over the input dim.
  IndexRule linear = contraction("bsfh", "bsh", "hf", "bsf");
  EXPECT_EQ(sharding(linear, 2), "R S1 S2 -> S2");
  EXPECT_EQ(sharding(linear, 3), "S2 S0 R -> P");
}

TEST_F(IndexRules, CombinersOfReductions) {
  auto rows = [&](const std::string &combiner, const std::string &sharding) {
    expect("%x: tensor<4x8xf32>, %y: tensor<4xf32>",
           "%r = linalg.reduce ins(%x : tensor<4x8xf32>) outs(%y : tensor<4xf32>) dimensions = [1] "
           "(%a: f32, %b: f32) { %s = " +
               combiner + " %a, %b : f32 linalg.yield %s : f32 }",
           {"S0 S0 -> S0", sharding});
  };
  rows("arith.addf", "S1 R -> P");
  rows("arith.maximumf", "S1 R -> Pmax");
  rows("arith.subf", "-"); // not a known combiner: whole
}

TEST_F(IndexRules, RowsAreWhole) {
  expect("%x: tensor<4x8xf32>, %y: tensor<4x8xf32>",
         "%r = snug_nn.softmax ins(%x : tensor<4x8xf32>) outs(%y : tensor<4x8xf32>) -> tensor<4x8xf32>",
         {"S0 S0 -> S0", "-"});
  expect("%x: tensor<4x8xf32>, %y: tensor<4x8xf32>",
         "%r = linalg.softmax dimension(0) ins(%x : tensor<4x8xf32>) outs(%y : tensor<4x8xf32>) -> tensor<4x8xf32>",
         {"-", "S1 S1 -> S1"});
  expect("%x: tensor<4x8xf32>, %w: tensor<8xf32>, %y: tensor<4x8xf32>",
         "%r = snug_nn.norm layer ins(%x : tensor<4x8xf32>) scale(%w : tensor<8xf32>) outs(%y : tensor<4x8xf32>) "
         "{epsilon = 1.0e-05 : f32} -> tensor<4x8xf32>",
         {"S0 R S0 -> S0", "-"});
}

// Attention with these maps over 2 batches, 8 query heads, 16 rows and 32 keys, heads and values of 4 and 6.
struct AttentionText {
  std::string arguments, body;
  AttentionText(const std::vector<std::pair<std::string, std::string>> &operands) { // type, map: q, k, v, scores', init
    std::string ins, inTypes, scores, scoreTypes, maps, block;
    for (auto [i, operand] : llvm::enumerate(operands)) {
      std::string name = "%a" + std::to_string(i), comma = i == 0 ? "" : ", ";
      arguments += comma + name + ": tensor<" + operand.first + ">";
      maps += comma + "affine_map<(b, h, s, t, d, e) -> (" + operand.second + ")>";
      if (i < 3) {
        ins += comma + name;
        inTypes += comma + "tensor<" + operand.first + ">";
      } else if (i + 1 < operands.size()) {
        scores += (i == 3 ? "" : ", ") + name;
        scoreTypes += (i == 3 ? "" : ", ") + ("tensor<" + operand.first + ">");
        block += ", %s" + std::to_string(i) + ": f32";
      }
    }
    std::string init = "%a" + std::to_string(operands.size() - 1), type = "tensor<" + operands.back().first + ">";
    body = "%r = snug_nn.attention ins(" + ins + " : " + inTypes + ") " +
           (scores.empty() ? "" : "score(" + scores + " : " + scoreTypes + ") ") + "outs(" + init + " : " + type +
           ") attributes {indexing_maps = [" + maps + "]} {\n^bb0(%qk: f32" + block +
           "):\nsnug_nn.yield %qk : f32\n} -> " + type;
  }
};

TEST_F(IndexRules, Attention) {
  AttentionText text({{"2x8x16x4xf32", "b, h, s, d"},
                      {"2x8x32x4xf32", "b, h, t, d"},
                      {"2x8x32x6xf32", "b, h, t, e"},
                      {"8x16x32xf32", "h, s, t"},
                      {"2x16x8x6xf32", "b, s, h, e"}});
  expect(text.arguments, text.body,
         {"S0 S0 S0 R S0 -> S0",      // batch
          "S1 S1 S1 S0 S2 -> S2",     // heads
          "S2 R R S1 S1 -> S1",       // query rows
          "R S2 S2 S2 R -> Psoftmax", // keys
          "-",                        // head size
          "-"});                      // value size
}

// Four query heads read one key head: the rule's dim counts the groups, in which the key heads stand bare.
// Columns of a weight in panels are cut by whole panels, which the column dim counts.
TEST_F(IndexRules, ContractionOverPanels) {
  auto text = [](const std::string &panels, const std::string &columns) {
    std::string x = "tensor<4x8xf32>", w = "tensor<" + panels + "x8x32xf32>", y = "tensor<4x" + columns + "xf32>";
    return std::make_pair(
        "%x: " + x + ", %w: " + w + ", %y: " + y,
        "%r = snug_nn.contract ins(%x, %w : " + x + ", " + w + ") outs(%y : " + y +
            ") attributes {indexing_maps = [affine_map<(m, n, k) -> (m, k)>, affine_map<(m, n, k) -> (k, n)>, "
            "affine_map<(m, n, k) -> (m, n)>], iterator_types = [\"parallel\", \"parallel\", \"reduction\"], "
            "packed} {\n^bb0(%s: f32):\n snug_nn.yield %s : f32\n} -> " +
            y);
  };
  auto [arguments, body] = text("3", "96");
  IndexRule rule = expect(arguments, body, {"S0 R S0 -> S0", "R S0 S1 -> S1", "S1 S1 R -> P", "-"});
  ASSERT_EQ(rule.dims.size(), 4u);
  AffineExpr panel = getAffineDimExpr(1, &context), inPanel = getAffineDimExpr(3, &context);
  EXPECT_EQ(rule.operands[1].getResult(0), panel);
  EXPECT_EQ(rule.results[0].getResult(1), panel * 32 + inPanel);
  // A last panel that is filled up.
  auto [otherArguments, otherBody] = text("3", "70");
  expect(otherArguments, otherBody, {"S0 R S0 -> S0", "-", "S1 R R -> P"});
}

TEST_F(IndexRules, AttentionOfGroupedQueries) {
  AttentionText text({{"2x8x16x4xf32", "b, h, s, d"},
                      {"2x2x32x4xf32", "b, h floordiv 4, t, d"},
                      {"2x2x32x6xf32", "b, h floordiv 4, t, e"},
                      {"8x16x32xf32", "h, s, t"},
                      {"2x16x8x6xf32", "b, s, h, e"}});
  IndexRule rule = expect(text.arguments, text.body,
                          {"S0 S0 S0 R S0 -> S0", "S1 S1 S1 S0 S2 -> S2", "S2 R R S1 S1 -> S1",
                           "R S2 S2 S2 R -> Psoftmax", "-", "-", "-"}); // last, within a group
  ASSERT_EQ(rule.dims.size(), 7u);
  AffineExpr group = getAffineDimExpr(1, &context), head = group * 4 + getAffineDimExpr(6, &context);
  EXPECT_EQ(rule.operands[0].getResult(1), head);
  EXPECT_EQ(rule.operands[1].getResult(1), group);
  EXPECT_EQ(rule.operands[2].getResult(1), group);
  EXPECT_EQ(rule.operands[3].getResult(0), head);
  EXPECT_EQ(rule.results[0].getResult(2), head);
}

// Heads that stand in two ways, that are no whole groups, or of which nobody knows how many there are, stay together.
TEST_F(IndexRules, AttentionWhoseHeadsStayTogether) {
  using Row = std::vector<std::pair<std::string, std::string>>;
  for (const Row &operands : {Row{{"2x8x16x4xf32", "b, h, s, d"},
                                  {"2x2x32x4xf32", "b, h floordiv 4, t, d"},
                                  {"2x4x32x6xf32", "b, h floordiv 2, t, e"},
                                  {"2x16x8x6xf32", "b, s, h, e"}},
                              Row{{"2x8x16x4xf32", "b, h, s, d"},
                                  {"2x2x32x4xf32", "b, h mod 2, t, d"},
                                  {"2x2x32x6xf32", "b, h mod 2, t, e"},
                                  {"2x16x8x6xf32", "b, s, h, e"}},
                              Row{{"2x8x16x4xf32", "b, h, s, d"},
                                  {"2x3x32x4xf32", "b, h floordiv 3, t, d"},
                                  {"2x3x32x6xf32", "b, h floordiv 3, t, e"},
                                  {"2x16x8x6xf32", "b, s, h, e"}},
                              Row{{"2x?x16x4xf32", "b, h, s, d"},
                                  {"2x2x32x4xf32", "b, h floordiv 4, t, d"},
                                  {"2x2x32x6xf32", "b, h floordiv 4, t, e"},
                                  {"2x16x?x6xf32", "b, s, h, e"}}}) {
    AttentionText text(operands);
    expect(text.arguments, text.body, {"S0 S0 S0 S0 -> S0", "-", "S2 R R S1 -> S1", "R S2 S2 R -> Psoftmax", "-", "-"});
  }
}

// Of merged dims only the outermost that is not 1 is contiguous in the merged one: a slice of it is so many times
// longer.
TEST_F(IndexRules, Reshapes) {
  expect("%x: tensor<6x40xf32>",
         "%r = tensor.expand_shape %x [[0], [1, 2]] output_shape [6, 5, 8] : tensor<6x40xf32> into tensor<6x5x8xf32>",
         {"S0 -> S0", "S1 -> S1", "-"});
  IndexRule collapse = expect("%x: tensor<1x5x8xf32>",
                              "%r = tensor.collapse_shape %x [[0, 1, 2]] : tensor<1x5x8xf32> into tensor<40xf32>",
                              {"-", "S1 -> S0", "-"});
  AffineExpr merged = getAffineDimExpr(1, &context) * 8 + getAffineDimExpr(2, &context);
  EXPECT_EQ(simplifyAffineExpr(collapse.results[0].getResult(0) - merged, 3, 0), getAffineConstantExpr(0, &context));
}

// A slice passes its dims on, be it taken out of a tensor or put into one (the parts of a concatenation, what a padding
// surrounds); those that it does not keep whole are moved.
TEST_F(IndexRules, Slices) {
  expect("%x: tensor<6x40xf32>",
         "%r = tensor.extract_slice %x[0, 8] [6, 16] [1, 1] : tensor<6x40xf32> to tensor<6x16xf32>",
         {"S0 -> S0", "H1 -> S1"});
  expect("%x: tensor<6x40xf32>",
         "%r = tensor.extract_slice %x[2, 0] [1, 20] [1, 2] : tensor<6x40xf32> to tensor<20xf32>", {"-", "S1 -> S0"});
  expect("%x: tensor<6x16xf32>, %y: tensor<6x40xf32>",
         "%r = tensor.insert_slice %x into %y[0, 8] [6, 16] [1, 1] : tensor<6x16xf32> into tensor<6x40xf32>",
         {"S0 S0 -> S0", "H1 S1 -> S1"});
}

// Of a window the rows are cut, which need a halo then, and not the taps.
TEST_F(IndexRules, Windows) {
  const std::string body = R"(
    {indexing_maps = [affine_map<(c, i, r) -> (c, 2 * i + r)>, affine_map<(c, i, r) -> (r)>, affine_map<(c, i, r) -> (c, i)>],
     iterator_types = ["parallel", "parallel", "reduction"]}
    ins(%x, %w : tensor<4x17xf32>, tensor<3xf32>) outs(%y : tensor<4x8xf32>) {
    ^bb0(%a: f32, %b: f32, %o: f32):
      %m = arith.mulf %a, %b : f32
      %s = arith.addf %m, %o : f32
      linalg.yield %s : f32
    } -> tensor<4x8xf32>)";
  expect("%x: tensor<4x17xf32>, %w: tensor<3xf32>, %y: tensor<4x8xf32>", "%r = linalg.generic " + body,
         {"S0 R S0 -> S0", "H1 R S1 -> S1", "-"});
}

TEST_F(IndexRules, TransposeAndBroadcast) {
  expect("%x: tensor<4x8xf32>, %y: tensor<8x4xf32>",
         "%r = linalg.transpose ins(%x : tensor<4x8xf32>) outs(%y : tensor<8x4xf32>) permutation = [1, 0]",
         {"S1 S0 -> S0", "S0 S1 -> S1"});
  expect("%x: tensor<8xf32>, %y: tensor<4x8xf32>",
         "%r = linalg.broadcast ins(%x : tensor<8xf32>) outs(%y : tensor<4x8xf32>) dimensions = [0]",
         {"R S0 -> S0", "S0 S1 -> S1"});
}

// The gathered dim, the rule's last, is read anywhere, so it is whole; the places that are gathered, and the dims
// beside it, are parallel.
TEST_F(IndexRules, Gather) {
  IndexRule rows = expect("%x: tensor<100x8xf32>, %i: tensor<2x3xi64>, %y: tensor<2x3x8xf32>",
                          "%r = snug_nn.gather ins(%x, %i : tensor<100x8xf32>, tensor<2x3xi64>) "
                          "outs(%y : tensor<2x3x8xf32>) axis = 0 -> tensor<2x3x8xf32>",
                          {"R S0 S0 -> S0", "R S1 S1 -> S1", "S1 R S2 -> S2", "-"});
  ASSERT_EQ(rows.dims.size(), 4u);
  EXPECT_EQ(placement(rows, rows.operands[0], 3), "S0");
  expect("%x: tensor<5x100x8xf32>, %i: tensor<3xi64>, %y: tensor<5x3x8xf32>",
         "%r = snug_nn.gather ins(%x, %i : tensor<5x100x8xf32>, tensor<3xi64>) "
         "outs(%y : tensor<5x3x8xf32>) axis = 1 -> tensor<5x3x8xf32>",
         {"S0 R S0 -> S0", "R S0 S1 -> S1", "S2 R S2 -> S2", "-"});
}

// Weights lie like indices; their last dim, the taps, is whole.
TEST_F(IndexRules, WeightedGather) {
  IndexRule rule = expect("%x: tensor<5x100x8xf32>, %i: tensor<3x4xi64>, %w: tensor<3x4xf32>, %y: tensor<5x3x8xf32>",
                          "%r = snug_nn.gather ins(%x, %i : tensor<5x100x8xf32>, tensor<3x4xi64>) "
                          "weights(%w : tensor<3x4xf32>) outs(%y : tensor<5x3x8xf32>) axis = 1 -> tensor<5x3x8xf32>",
                          {"S0 R R S0 -> S0", "R S0 S0 S1 -> S1", "S2 R R S2 -> S2", "-", "-"});
  ASSERT_EQ(rule.dims.size(), 5u);
  EXPECT_EQ(placement(rule, rule.operands[0], 4), "S1");
}
} // namespace
