/** Counts how often each branch of a program is taken, by rewriting its source. */

import ts from "typescript";

const OPTIONS = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  rewriteRelativeImportExtensions: true,
  verbatimModuleSyntax: true,
};

const SHORT_CIRCUITS = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);

/** The JavaScript of a module; with `branches`, each of them adds one to its place in `__hits`. */
export function translated(source, branches) {
  const transformers = branches === undefined ? {} : { before: [counting(branches)] };
  return ts.transpileModule(source, { compilerOptions: OPTIONS, transformers }).outputText;
}

function counting(branches) {
  return (context) => {
    const { factory } = context;
    const count = () =>
      factory.createPostfixIncrement(
        factory.createElementAccessExpression(
          factory.createIdentifier("__hits"),
          branches.count++,
        ),
      );
    const counted = (expression) =>
      factory.createParenthesizedExpression(factory.createComma(count(), expression));
    const statement = () => factory.createExpressionStatement(count());
    const block = (body) =>
      ts.isBlock(body) ? body : factory.createBlock([statement(), body]);

    function visit(original) {
      const node = ts.visitEachChild(original, visit, context);
      if (ts.isBlock(node)) return factory.updateBlock(node, [statement(), ...node.statements]);
      if (ts.isArrowFunction(node) && !ts.isBlock(node.body)) return withBody(node);
      if (ts.isConditionalExpression(node)) return withBranches(node);
      if (ts.isBinaryExpression(node) && SHORT_CIRCUITS.has(node.operatorToken.kind)) {
        const right = counted(node.right);
        return factory.updateBinaryExpression(node, node.left, node.operatorToken, right);
      }
      if (ts.isCaseClause(node)) {
        const statements = [statement(), ...node.statements];
        return factory.updateCaseClause(node, node.expression, statements);
      }
      if (ts.isIfStatement(node)) {
        const otherwise = node.elseStatement && block(node.elseStatement);
        return factory.updateIfStatement(
          node,
          node.expression,
          block(node.thenStatement),
          otherwise,
        );
      }
      return node;
    }

    function withBody(node) {
      return factory.updateArrowFunction(
        node,
        node.modifiers,
        node.typeParameters,
        node.parameters,
        node.type,
        node.equalsGreaterThanToken,
        counted(node.body),
      );
    }

    function withBranches(node) {
      return factory.updateConditionalExpression(
        node,
        node.condition,
        node.questionToken,
        counted(node.whenTrue),
        node.colonToken,
        counted(node.whenFalse),
      );
    }

    return (file) => ts.visitEachChild(file, visit, context);
  };
}
